-- What is asked of wrk beside its own options, after `--`:
--   pause=MILLISECONDS  how long each connection thinks before its next request
--   post=BYTES          a body of so many bytes
--   waits=1             adds up the X-Waited field of the answers, in microseconds

local threads = {}
waited = 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local asked = {}
  for _, argument in ipairs(arguments) do
    local name, value = argument:match("^(%w+)=(%d+)$")
    asked[name] = tonumber(value)
  end
  if asked.pause then
    delay = function() return asked.pause end
  end
  if asked.post then
    wrk.method = "POST"
    wrk.body = string.rep("x", asked.post)
  end
  if asked.waits then
    response = function(_, fields) waited = waited + tonumber(fields["X-Waited"] or fields["x-waited"]) end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  local all = 0
  for _, thread in ipairs(threads) do
    all = all + thread:get("waited")
  end
  print(string.format("counted %d %d %d %d %d %d %d %d", summary.requests, summary.duration,
    errors.status, broken, latency:percentile(50), latency:percentile(99), latency.max, all))
end
