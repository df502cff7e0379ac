-- What has become of the entries that the stream's own group was given since the last look: which of them somebody
-- acknowledged, and which nobody can have. Redis does not record that: an acknowledged entry is one that was given, and
-- is not held any more. So is one whose consumer was removed while it held it, one that the group was set past, or one
-- that was read with NOACK. Each look is compared with the one before.
--
-- KEYS[1] stream   KEYS[2] the stream's record
-- ARGV[1] its own group   ARGV[2] entries in a page   ARGV[3] held entries that are remembered at most
-- ARGV[4] count nothing as done from this entry on, which another group needs; '' for no such limit
-- ARGV[5] a random word, by which settle.lua knows what was found here
-- ARGV[6] the outbox, as is_ours takes it
--
-- {'foreign', identity, database, hosts} the stream belongs to that outbox
-- {} no such group, or not the stream that it was; or {what is next 'nothing'|'settle'|'more', bound, {message, attempt, …}, {message, attempt, why, who, …}}
-- bound: whatever comes before this entry is counted as done, or was put back. Then the messages whose entries were
-- acknowledged, and those whose entries were not. 'settle': this must be carried out before settle.lua is run, and 'more':
-- then look again. Repeating it changes nothing.
--
-- The record's field `look`, as JSON: `seen`, up to where entries were judged; `done`; `held`, of those up to `seen` the
-- ones that a consumer held, each with its name; `trusted`, see `watch`; and what the server had counted when the group had
-- been given no more than `seen`. While more is held than is remembered, some of what was given is not judged yet. Then
-- `later` is what the server had counted when the group had been given what is up to `later.given`, and what made all of
-- that doubtful; and `latest`, at the last look. `looked` is the same of a look that was not carried out, or not yet:
-- MongoDB was away, or another relay was faster. What it saw in a consumer's hands after `look.seen` is known by it alone,
-- so that is compared too. `missed`: what it missed of that.

local foreign = of_another(KEYS[2], ARGV[6])
if foreign then return foreign end
local page, most = tonumber(ARGV[2]), tonumber(ARGV[3])

local own = nil
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if flat[2] == ARGV[1] then own = named(flat) end
  end
end
if not own then return {} end
local stored = redis.call('HMGET', KEYS[2], 'marker', 'look', 'looked')
if stored[1] and not recognize(KEYS[1], KEYS[2]) then return {} end  -- another stream: a recovery is due, and is to see it
local last_id = position(KEYS[1])
local skips = beyond(own, last_id)  -- until a relay's open.lua has seen it
local delivered = skips and last_id or own['last-delivered-id']

local consumers, readers, marked = {}, 0, false
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name = named(flat)['name']
  if name == MARK then marked = true else consumers[name], readers = true, readers + 1 end
end

-- Held at present. Of more than can be remembered, the oldest, and nothing after them is judged.
local list = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', most)
local pending, whole, reach = {}, #list < most, delivered
for _, one in ipairs(list) do pending[one[1]] = one[2] end
local last_pending = not whole and list[#list][1]
if last_pending and earlier(last_pending, reach) then reach = last_pending end

-- What it holds beyond what it was given last it was given before it was set back.
local latest = redis.call('XPENDING', KEYS[1], ARGV[1])[3]
local holds_beyond = latest and earlier(delivered, latest)

-- To be called before whatever is written. A full Redis refuses a script what may take memory, up to the script's first
-- write. But nothing that was not looked at is trimmed, so that it would stay full. This is never refused, and deletes
-- nothing.
local function although_full()
  redis.call('HDEL', KEYS[2], '')
end

local now = counted()
local look = stored[2] and read_look(stored[2])
if not look or look.marker ~= (stored[1] or '') then
  although_full()
  look, marked = watch(KEYS[1], KEYS[2], ARGV[1], stored[1] or '', delivered), true
end
if earlier(delivered, look.seen) then
  -- It was set back, or made anew: it will be given again what comes from here on.
  look.seen = delivered
  if earlier(delivered, look.done) then look.done = delivered end
end

-- Some remove all consumers that hold nothing, and so the mark, whose group is then the same: none was made since.
local last = look.latest or look
local cleared = not marked and comparable(last, now) and last.creates == now.creates
  and calls(last.removals) < calls(now.removals)
local destroyed = not marked and not cleared

-- Some of what the group was given is not judged yet: it is doubtful for what happened up to now, and not for what follows.
local function given_up_to(id, doubt)
  local later = {given = id, doubt = doubt}
  for name, count in pairs(now) do later[name] = count end
  return later
end
local later = look.later
if destroyed or (look.destroyed and not later) then
  later = given_up_to(delivered, 'destroyed')
elseif later and earlier(delivered, later.given) then
  later.given = delivered
end
local silence, doubt = comparable(look, now) and look.acks == now.acks, nil
if later and later.doubt then
  doubt = later.doubt
elseif silence then
  doubt = 'silence'
elseif skips or (not later and comparable(look, now) and look.sets ~= now.sets and not holds_beyond) then
  doubt = 'set'
elseif readers == 0 then
  doubt = 'nobody'
end
if later and earlier(later.given, reach) then reach = later.given end

-- What tells that `who` no longer holds an entry that it held at an earlier look, because it was removed. One that was
-- removed may be there again under its name: not one that still holds something of what it held. `others`: how many of the
-- removals since that look were not of consumers.
local function removal_since(earlier_look, others)
  -- A server that was started since that look, or has taken over, counts from its own start.
  local before, at, stayed = 0, earlier_look.latest or earlier_look, {}
  if comparable(at, now) then before = at.removals and calls(at.removals) or calls(now.removals) end
  local removed = at.server ~= '' and now.server ~= '' and calls(now.removals) - before ~= others
  for _, one in ipairs(earlier_look.held) do
    if pending[one[1]] == one[2] then stayed[one[2]] = true end
  end
  return function(who)
    return (not consumers[who] and 'removed') or (removed and not stayed[who] and 'perhaps')
  end
end

local acknowledged, lost, is_lost, held, unknown = {}, {}, {}, {}, {}

local function put_back(entry, why, who)
  is_lost[entry[1]] = true
  local message, attempt = speaks_of(entry[2])
  if message ~= '' then
    for _, word in ipairs({message, attempt, why, who}) do lost[#lost + 1] = word end
  end
end

-- What was held at the last look, and is no longer.
local removal = removal_since(look, cleared and 1 or 0)
for _, one in ipairs(look.held) do
  local id, who = one[1], one[2]
  if not earlier(look.seen, id) then
    local why = one[3] or (destroyed and 'destroyed') or removal(who)
    if last_pending and earlier(last_pending, id) then
      unknown[#unknown + 1] = {id, who, why or nil}
    elseif not pending[id] then
      local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
      why = why or (silence and 'silence')
      if entry and why then
        put_back(entry, why, who)
      elseif entry and not earlier(look.done, id) then
        local message, attempt = speaks_of(entry[2])
        acknowledged[#acknowledged + 1], acknowledged[#acknowledged + 2] = message, attempt
      end
    end
  end
end

-- What it was given after that, and was held at a look that was not carried out.
local looked, missed = stored[3] and read_look(stored[3]), {}
if looked and looked.follows == look.tag and looked.marker == look.marker then
  removal = removal_since(looked, 0)
  for _, list_of in ipairs({looked.held, looked.missed or {}}) do
    for _, one in ipairs(list_of) do
      local id, who = one[1], one[2]
      local known = earlier(look.seen, id) and not earlier(delivered, id) and not (last_pending and earlier(last_pending, id))
      local why = known and not pending[id] and (one[3] or removal(who))
      local entry = why and redis.call('XRANGE', KEYS[1], id, id)[1]
      if entry then
        put_back(entry, why, who)
        missed[#missed + 1] = {id, who, why}
      end
    end
  end
end

-- What the group was given since.
local more = false
if doubt and earlier(look.seen, reach) then
  local entries = redis.call('XRANGE', KEYS[1], '(' .. look.seen, reach, 'COUNT', page)
  for _, entry in ipairs(entries) do
    if not pending[entry[1]] and not is_lost[entry[1]] and earlier(look.trusted, entry[1]) then put_back(entry, doubt, '') end
  end
  if #entries == page then reach, more = entries[page][1], true end
end
local seen = earlier(reach, look.seen) and look.seen or reach
for _, one in ipairs(list) do
  if not earlier(seen, one[1]) then held[#held + 1] = {one[1], one[2]} end
end
for _, one in ipairs(unknown) do held[#held + 1] = one end

-- What counts as done: up to what other groups need.
local done = look.done
if earlier(done, reach) then
  local entries = redis.call('XRANGE', KEYS[1], '(' .. done, ARGV[4] == '' and reach or '(' .. ARGV[4], 'COUNT', page)
  for _, entry in ipairs(entries) do
    if earlier(reach, entry[1]) then break end
    done = entry[1]
    if not pending[done] and not is_lost[done] then
      local message, attempt = speaks_of(entry[2])
      acknowledged[#acknowledged + 1], acknowledged[#acknowledged + 2] = message, attempt
    end
  end
  if #entries == page then
    more = more or earlier(done, reach)
  elseif ARGV[4] == '' or earlier(reach, ARGV[4]) then
    done = reach
  end
end

-- What is held is not judged yet, and is not to be trimmed: it may be acknowledged as soon as this has been said.
local bound = after(done)
if held[1] and earlier(held[1][1], bound) then bound = held[1][1] end

-- What the server counted stays as it was, until all that it is to tell of has been judged.
local complete, from = reach == delivered, look
if complete then
  from, later = now, nil
elseif not later then
  later = given_up_to(delivered, doubt == 'set' and doubt or nil)
elseif not earlier(seen, later.given) then
  from, later, more = later, nil, true
end
local stands = {
  marker = look.marker, trusted = look.trusted, seen = seen, done = done, held = held, tag = ARGV[5],
  missed = missed, destroyed = later ~= nil and later.doubt == 'destroyed', later = later,
  latest = not complete and now or nil, server = from.server, resets = from.resets, looks = from.looks, acks = from.acks,
  sets = from.sets, creates = from.creates, removals = from.removals,
}
if #acknowledged == 0 and #lost == 0 and not more then
  local same = look.seen == seen and look.done == done and #look.held == #held and look.later == later
    and look.acks == stands.acks and look.sets == stands.sets and look.server == stands.server
    and now.creates == last.creates and now.removals == last.removals and (now.server == '' or comparable(last, now))
  for n, one in ipairs(held) do
    same = same and look.held[n][1] == one[1] and look.held[n][2] == one[2] and look.held[n][3] == one[3]
  end
  if not marked or not same then although_full() end
  if not marked then redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], MARK) end
  if not same then redis.call('HSET', KEYS[2], 'look', cjson.encode(stands)) end
  return {'nothing', bound, {}, {}}
end
stands.follows = look.tag
although_full()
redis.call('HSET', KEYS[2], 'looked', cjson.encode(stands))
return {more and 'more' or 'settle', bound, acknowledged, lost}
