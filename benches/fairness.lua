-- Each connection thinks for 5 ms before its next request; the time is counted from the moment of sending.

function delay()
  return 5
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format("counted %d %d %d %d %d", summary.requests, failed,
    latency:percentile(50), latency:percentile(99), latency.max))
end
