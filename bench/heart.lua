-- wrk's part of bench/heart: makes requests that differ from each other, from the arguments.
--
--    unique PREFIX SERIES FIRST LIMIT           requests of `simple` with the numbers from FIRST on
--    keys PREFIX LIMIT INPUTS BYTES KEYS FIRST ROWS
--                                               requests of ROWS rows of BYTES bytes each from the
--                                               file INPUTS; the file KEYS, from entry FIRST on,
--                                               holds the rows' numbers
--
-- The file PREFIX holds the head of the request and its JSON. After LIMIT requests a SIGINT ends wrk;
-- with LIMIT 0 only its duration does. Prints the figures as JSON.

local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int pid, int signal);")
local SIGINT = 2

local prefix, limit, make
local calls = -1 -- wrk makes the first request without sending it

local function read(path)
   local file = assert(io.open(path, "rb"))
   local text = file:read("*a")
   file:close()
   return text
end

local function unique(series, first)
   local numbers = ffi.new("int32_t[2]", tonumber(series), 0)
   local a, b = ffi.new("int32_t[14]"), ffi.new("int32_t[16]")
   for i = 0, 13 do
      a[i] = i
   end
   for i = 0, 15 do
      b[i] = 1
   end
   local rest = ffi.string(a, 56) .. ffi.string(b, 64)
   first = tonumber(first)
   return function(i)
      numbers[1] = first + i
      return prefix .. ffi.string(numbers, 8) .. rest
   end
end

local function keyed(inputs, bytes, keys, first, rows)
   local pool, text = read(inputs), read(keys)
   local key, count = ffi.cast("const int32_t *", text), #text / 4
   local parts = {}
   bytes, first, rows = tonumber(bytes), tonumber(first), tonumber(rows)
   return function(i)
      local _ = text -- keeps `text` alive, which `key` points into
      parts[1] = prefix
      for row = 0, rows - 1 do
         local at = key[(first + i * rows + row) % count] * bytes
         parts[row + 2] = pool:sub(at + 1, at + bytes)
      end
      return table.concat(parts)
   end
end

function init(args)
   prefix = read(args[2])
   if args[1] == "unique" then
      limit = tonumber(args[5])
      make = unique(args[3], args[4])
   else
      limit = tonumber(args[3])
      make = keyed(args[4], args[5], args[6], args[7], args[8])
   end
end

function request()
   calls = calls + 1
   if limit > 0 and calls == limit then
      wrk.thread:stop()
      ffi.C.kill(ffi.C.getpid(), SIGINT)
   end
   return make(math.max(calls, 0))
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
