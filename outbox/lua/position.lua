-- Put before the other scripts. Where a stream stands, and whether it is behind what a checkpoint remembers of it.

-- Returns the stream's last-generated-id and how many entries were ever added to it (nil before Redis 7).
-- A stream that is not there stands at 0-0. Fails on a key of another type.
local function position(stream)
  if redis.call('EXISTS', stream) == 0 then
    return '0-0', 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  local last, added
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = tonumber(info[i + 1]) end
  end
  return last, added
end

local function earlier(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_seq) < tonumber(b_seq)
end

-- The stream was deleted, or replaced by an older copy, while the checkpoint stayed. The count finds a stream that was
-- deleted and that somebody else has added to since.
local function behind(last, added, checkpoint_last, checkpoint_added)
  if not checkpoint_last then return false end
  if earlier(last, checkpoint_last) then return true end
  return added and checkpoint_added and added < tonumber(checkpoint_added) or false
end
