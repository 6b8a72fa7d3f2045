-- wrk's part of a run with questions that differ: arguments are the file of a body, the length of its JSON header (0:
-- all is JSON), how many questions there are (0: none comes twice; else they come by Zipf's law, alpha 1.1), and where
-- and on how many bytes a question's number is written: little-endian, or in JSON decimal. Prints the figures as JSON.

local header, tail, count, offset, weights, digits
local number = 0

function setup(thread)
   thread:set("seed", math.random(1, 2 ^ 24))
end

function init(args)
   local file = assert(io.open(args[1], "rb"))
   local body = file:read("*a")
   file:close()
   local position, size = tonumber(args[4]), tonumber(args[5])
   header, tail = body:sub(1, position), body:sub(position + size + 1)
   count = tonumber(args[3])
   math.randomseed(os.time() + (seed or 0))
   offset = math.random(0, 2 ^ 20) * 1024
   wrk.method = "POST"
   if tonumber(args[2]) > 0 then
      wrk.headers["Content-Type"] = "application/octet-stream"
      wrk.headers["Inference-Header-Content-Length"] = args[2]
   else
      wrk.headers["Content-Type"] = "application/json"
      digits = size
   end
   if count > 0 then
      weights = {}
      local sum = 0
      for rank = 1, count do
         sum = sum + rank ^ -1.1
         weights[rank] = sum
      end
   end
end

local function draw()
   local wanted, low, high = math.random() * weights[count], 1, count
   while low < high do
      local middle = math.floor((low + high) / 2)
      if weights[middle] < wanted then low = middle + 1 else high = middle end
   end
   return low
end

local function written(n)
   if digits then
      return string.format("%0" .. digits .. "d", n % 10 ^ digits)
   end
   return string.char(n % 256, math.floor(n / 256) % 256, math.floor(n / 65536) % 256, math.floor(n / 16777216) % 128)
end

function request()
   number = number + 1
   local n = count > 0 and draw() or (offset + number) % 2 ^ 31
   return wrk.format(nil, nil, nil, header .. written(n) .. tail)
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
