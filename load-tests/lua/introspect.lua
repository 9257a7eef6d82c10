-- Introspects random tokens: wrk -s introspect.lua URL -- FILE AUTHORIZATION
-- FILE has one plaintext a line, each as long as the others.
-- What all requests share is made beforehand, so that making them is not what is measured; and only the plaintexts are
-- kept, so that the generator takes less of the caches that it shares with the server.
local tokens, head = {}, nil

function init(args)
  wrk.method = "POST"
  wrk.headers["Authorization"] = args[2]
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  for line in io.lines(args[1]) do
    tokens[#tokens + 1] = line
    assert(#line == #tokens[1], "the head says how long each is")
  end
  head = wrk.format(nil, "/oauth2/introspect", nil, "token=" .. tokens[1]):sub(1, -1 - #tokens[1])
  math.randomseed(os.time())
end

function request()
  return head .. tokens[math.random(#tokens)]
end

dofile(debug.getinfo(1, "S").source:sub(2):match("(.*/)") .. "summary.lua")
