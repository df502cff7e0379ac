-- Remove entries that every group has acknowledged. The look and the removal are one unit, so that a group which is
-- created, or an entry which is claimed, in between loses nothing.
--
-- KEYS[1] stream   KEYS[2] the stream's record
-- ARGV[1] its own group: without it, nothing is removed
-- ARGV[2] remove nothing from this entry on; '' for no such limit
-- ARGV[3] ignore other groups that have been silent for so many milliseconds; 0: none
-- ARGV[4] about how many entries to remove at most; 0: only look
-- ARGV[5] the outbox's identity; '' for whoever only looks
--
-- {'foreign', identity, database, hosts}   the stream belongs to that outbox
-- {bound, removed, bound of the others, {name, silent for milliseconds, ignored 0|1, name, …}}
-- bound: the first entry that is still needed, or '' when that is not known; of the others: '' when there are none. The
-- list has the groups that are behind the own one, and so hold the trimming up.

-- The first entry that a group still needs: the next that it would be given, or the oldest that it has not acknowledged.
-- Either can be first: a group that was set back is given again what comes before some that it still holds.
local function needed(group)
  local next_one = after(group['last-delivered-id'])
  if group['pending'] > 0 then
    local oldest = redis.call('XPENDING', KEYS[1], group['name'])[2]
    if earlier(oldest, next_one) then return oldest end
  end
  return next_one
end

-- For how long a group has had something to do, and none of its consumers has asked for anything. Ids are times.
local function silent(group, from)
  local waiting = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
  if not waiting then return 0 end
  local clock = redis.call('TIME')
  local milliseconds = clock[1] * 1000 + math.floor(clock[2] / 1000) - tonumber(string.match(waiting[1], '%d+'))
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group['name'])) do
    milliseconds = math.min(milliseconds, named(flat)['idle'])
  end
  return math.max(milliseconds, 0)
end

local foreign = ARGV[5] ~= '' and of_another(KEYS[2], ARGV[5])
if foreign then return foreign end
if redis.call('EXISTS', KEYS[1]) == 0 then return {'', 0, '', {}} end
local own, others = nil, {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = named(flat)
  if group['name'] == ARGV[1] then own = needed(group) else others[#others + 1] = group end
end
if not own then return {'', 0, '', {}} end

local bound, of_others, behind_own = own, '', {}
for _, group in ipairs(others) do
  local from, ignored = needed(group), false
  if earlier(from, own) then
    local milliseconds, limit = silent(group, from), tonumber(ARGV[3])
    ignored = limit > 0 and milliseconds >= limit
    if not ignored and earlier(from, bound) then bound = from end
    for _, told in ipairs({group['name'], milliseconds, ignored and 1 or 0}) do
      behind_own[#behind_own + 1] = told
    end
  end
  if not ignored and (of_others == '' or earlier(from, of_others)) then of_others = from end
end
if ARGV[2] ~= '' and earlier(ARGV[2], bound) then bound = ARGV[2] end

local removed = 0
if tonumber(ARGV[4]) > 0 then
  -- Whole nodes first, a bounded number in one call: it holds the server up. What is left of the last node, then, is
  -- few.
  removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', bound, 'LIMIT', ARGV[4])
  if removed == 0 then
    removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', bound)
  end
end
return {bound, removed, of_others, behind_own}
