-- Issues tokens for many users in turn, each at most 49: wrk -t1 -s issue.lua URL -- FILE
-- FILE has one user's token a line. One thread, so that no two share a turn.
local tokens, turn = {}, 0

function init(args)
  for line in io.lines(args[1]) do tokens[#tokens + 1] = line end
end

function request()
  turn = turn + 1
  local headers = { ["Authorization"] = "Bearer " .. tokens[turn % #tokens + 1], ["Content-Type"] = "application/json" }
  return wrk.format("POST", "/v1/user/tokens", headers, '{"scopes":["read"]}')
end

dofile(debug.getinfo(1, "S").source:sub(2):match("(.*/)") .. "summary.lua")
