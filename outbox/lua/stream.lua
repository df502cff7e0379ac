-- Put before the other scripts. Where a stream stands, and whether it is still the one that was there before.

-- The stream's last-generated-id and how many entries were ever added to it ('' before Redis 7). Neither goes back when
-- entries are deleted or trimmed. A stream that is not there stands at 0-0. Fails on a key of another type.
local function position(stream)
  if redis.call('EXISTS', stream) == 0 then
    return '0-0', 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  local last, added = '0-0', ''
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
  return last, added
end

local function earlier(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_seq) < tonumber(b_seq)
end

-- The stream was deleted, or replaced by an older copy, since it stood at `known_last`. The count finds a stream that
-- was deleted and that somebody else has added to since.
local function behind(last, added, known_last, known_added)
  if earlier(last, known_last) then return true end
  local now, before = tonumber(added), tonumber(known_added or '')
  return now ~= nil and before ~= nil and now < before
end

-- What all partitions of a stream know of it together: its marker, which a new one gets anew, and where it stood.
-- Returns the marker (false: this stream is another one, or nobody has marked it yet), and where it stands now.
local function recognize(stream, record)
  local last, added = position(stream)
  local known = redis.call('HMGET', record, 'marker', 'last', 'added')
  local same = known[1] and not behind(last, added, known[2], known[3])
  return same and known[1], last, added
end

-- Whether the group has still to be given more than `limit` entries. Cheap, however long the stream is.
local function waits_for_more_than(limit, stream, group)
  if redis.call('XLEN', stream) <= limit then return false end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local values = {}
    for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
    if values['name'] == group then
      if values['lag'] then return values['lag'] > limit end
      -- Redis has lost count, because entries ahead of the group were deleted. Counting holds the server up, so then the
      -- limit is no higher than what is counted in some milliseconds.
      local countable = math.min(limit, 10000)
      local ahead = redis.call('XRANGE', stream, '(' .. values['last-delivered-id'], '+', 'COUNT', countable + 1)
      return #ahead > countable
    end
  end
  return true
end
