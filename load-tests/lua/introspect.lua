-- Introspects random tokens: wrk -s introspect.lua URL -- FILE AUTHORIZATION
-- FILE has one plaintext a line.
-- Requests are made beforehand, so that making them is not what is measured.
local requests = {}

function init(args)
  wrk.method = "POST"
  wrk.headers["Authorization"] = args[2]
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format(nil, "/oauth2/introspect", nil, "token=" .. line)
  end
  math.randomseed(os.time())
end

function request()
  return requests[math.random(#requests)]
end

dofile(debug.getinfo(1, "S").source:sub(2):match("(.*/)") .. "summary.lua")
