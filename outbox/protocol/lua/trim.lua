-- Remove entries that every group has acknowledged. The look and the removal are one unit, so that a group which is
-- created, or an entry which is claimed, in between loses nothing.
--
-- KEYS[1] stream   KEYS[2] the stream's record
-- ARGV[1] its own group: without it, nothing is removed
-- ARGV[2] remove nothing from this entry on; '' for no such limit
-- ARGV[3] about how many entries to remove at most; 0: only look
-- ARGV[4] the outbox, as is_ours takes it; '' for whoever only looks
-- ARGV[5…] name, sign, name, …: ignore these other groups, as long as that is still their sign
--
-- {'foreign', identity, database, hosts}   the stream belongs to that outbox
-- {bound, removed, bound of the others, {name, sign, silent for milliseconds, ignored 0|1, name, …}}
-- bound: the first entry that is still needed, or '' when that is not known; of the others: '' when there are none. The
-- list has the groups that are behind the own one, and so hold the trimming up. A sign: another one than before when the
-- group has done anything in between; '' while nothing waits for it.

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

-- For how long a group has had something to do, and none of its consumers has asked for anything, by this server's clock:
-- to be shown, and not to be acted on. That clock also counts while nobody can ask, and can be set. Ids are times, unless
-- they lie ahead.
local function silent(group, waiting)
  local clock = redis.call('TIME')
  local milliseconds = clock[1] * 1000 + math.floor(clock[2] / 1000) - tonumber(string.match(waiting[1], '%d+'))
  if milliseconds < 0 then milliseconds = nil end
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group['name'])) do
    local idle = named(flat)['idle']
    milliseconds = math.min(milliseconds or idle, idle)
  end
  return math.max(milliseconds or 0, 0)
end

-- When each consumer of each group was last seen. As Redis has stored it: what is reckoned from the clock would change
-- with it, and be the same for all who were seen at a time that lies ahead.
local function seen()
  local times = {}
  for _, flat in ipairs(named(redis.call('XINFO', 'STREAM', KEYS[1], 'FULL', 'COUNT', 1))['groups']) do
    local group, of_consumers = named(flat), {}
    for i, consumer in ipairs(group['consumers']) do of_consumers[i] = named(consumer)['seen-time'] end
    times[group['name']] = redis.sha1hex(table.concat(of_consumers, ' '))
  end
  return times
end

local foreign = ARGV[4] ~= '' and of_another(KEYS[2], ARGV[4])
if foreign then return foreign end
if redis.call('EXISTS', KEYS[1]) == 0 then return {'', 0, '', {}} end
local own, others = nil, {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = named(flat)
  if group['name'] == ARGV[1] then own = needed(group) else others[#others + 1] = group end
end
if not own then return {'', 0, '', {}} end

local to_ignore = {}
for i = 5, #ARGV, 2 do to_ignore[ARGV[i]] = ARGV[i + 1] end
local bound, of_others, behind_own, times = own, '', {}, nil
for _, group in ipairs(others) do
  local from, ignored = needed(group), false
  if earlier(from, own) then
    local sign, milliseconds = '', 0
    local waiting = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
    if waiting then
      times = times or seen()
      sign = table.concat({group['last-delivered-id'], group['pending'], times[group['name']]}, ' ')
      milliseconds = silent(group, waiting)
    end
    ignored = waiting and to_ignore[group['name']] == sign
    if not ignored and earlier(from, bound) then bound = from end
    for _, told in ipairs({group['name'], sign, milliseconds, ignored and 1 or 0}) do
      behind_own[#behind_own + 1] = told
    end
  end
  if not ignored and (of_others == '' or earlier(from, of_others)) then of_others = from end
end
if ARGV[2] ~= '' and earlier(ARGV[2], bound) then bound = ARGV[2] end

local removed = 0
if tonumber(ARGV[3]) > 0 then
  -- Whole nodes first, a bounded number in one call: it holds the server up. What is left of the last node, then, is
  -- few.
  removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', bound, 'LIMIT', ARGV[3])
  if removed == 0 then
    removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', bound)
  end
end
return {bound, removed, of_others, behind_own}
