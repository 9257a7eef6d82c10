-- Introspects random tokens: wrk -s introspect.lua URL -- FILE AUTHORIZATION
-- FILE has one plaintext a line.
local tokens = {}

function init(args)
  for line in io.lines(args[1]) do tokens[#tokens + 1] = line end
  wrk.method = "POST"
  wrk.headers["Authorization"] = args[2]
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  math.randomseed(os.time())
end

function request()
  return wrk.format(nil, "/oauth2/introspect", nil, "token=" .. tokens[math.random(#tokens)])
end

dofile(debug.getinfo(1, "S").source:sub(2):match("(.*/)") .. "summary.lua")
