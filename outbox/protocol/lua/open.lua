-- Take a partition's checkpoint under a token, and read it. From here on, an older token's scripts are refused.
-- Also the check of an idle owner: with the token already there, it writes nothing.
--
-- KEYS[1] checkpoint   KEYS[2] stream   KEYS[3] the stream's record, shared by its partitions
-- ARGV[1] token        ARGV[2] consumer group, created at 0 if it is not there, and set to the stream's end if it is beyond that
-- ARGV[3] 1: write in any case. A WAIT behind this call waits for what its own connection wrote, and for all before it
--         with it; after a call that only read, it would confirm a batch that nobody else has.
-- ARGV[4] a random word: the tag of a checkpoint, and the marker of a stream, that are not there yet
-- ARGV[5] 1: the group's acknowledgements are watched, see look.lua
-- ARGV[6] the outbox's identity   ARGV[7] its database   ARGV[8] its hosts: put on record where none is
--
-- {'opened', batch, tag, previous tag, messages, first entry, last entry, marker, other 0|1}
-- {'fenced', the higher token}
-- {'foreign', identity, database, hosts}   of the outbox that the stream belongs to
-- other: the stream is not the one that the checkpoint was written for.

local foreign = of_another(KEYS[3], ARGV[6] .. ' ' .. ARGV[7])
if foreign then return foreign end

local names = {'token', 'batch', 'tag', 'previous', 'messages', 'first', 'last', 'marker', 'added'}
local there, values = {}, redis.call('HMGET', KEYS[1], unpack(names))
for i, name in ipairs(names) do there[name] = values[i] end

-- What no relay has written there is as good as lost: then the stream tells what was published.
local function sound()
  for _, name in ipairs({'token', 'batch'}) do
    if there[name] and not is_number(there[name]) then return false end
  end
  -- A token that no relay takes, see fences.py: a lease that went above it would soon have none that can be compared.
  if there.token and #there.token > 13 and tonumber(there.token) > tonumber(ARGV[1]) then return false end
  for _, name in ipairs({'tag', 'previous'}) do
    if string.find(there[name] or '', '%W') then return false end
  end
  -- A single field may be deleted, or expire. Every version has written the messages with their batch.
  if not there.messages and there.batch and there.batch ~= '0' then return false end
  local messages = there.messages or ''
  for _, name in ipairs({'first', 'last'}) do
    if not is_id(there[name] or (messages == '' and '0-0')) then return false end
  end
  local tagged = there.tag ~= '' and (there.tag or not there.batch)
  return tagged and string.gsub(messages, '%x+:%d+ ?', '') == ''
end
if not sound() then
  redis.call('DEL', KEYS[1])
  there = {}
end

if there.token and tonumber(there.token) > tonumber(ARGV[1]) then
  return {'fenced', there.token}
end

-- Before the group is created: that creates the stream, too.
local marker, last, added, known, _, begin = recognize(KEYS[2], KEYS[3])
if marker and there.marker == marker and is_id(there.last) and earlier(last, there.last) then
  -- An older copy, and its record is as old: keys were copied one by one, and only this checkpoint is newer. A new marker
  -- tells the other partitions, too, whose checkpoints may stand behind what is added from here on.
  marker = false
end
if not marker then
  marker = ARGV[4]
  redis.call('HSET', KEYS[3], 'marker', marker, 'last', last, 'added', added, 'first', begin)
elseif known ~= last then
  redis.call('HSET', KEYS[3], 'last', last, 'added', added, 'first', begin)  -- others have added to it
end
if redis.call('HGET', KEYS[3], 'outbox') ~= ARGV[6] then
  -- What was added up to here, by relays that put no name on record, may be another outbox's.
  redis.call('HSET', KEYS[3], 'outbox', ARGV[6], 'database', ARGV[7], 'hosts', ARGV[8], 'since', last)
end

if not there.batch then
  -- A history of its own: what was published before, if anything, is not what follows from here.
  there.batch, there.tag = '0', ARGV[4]
  redis.call('HSET', KEYS[1], 'batch', there.batch, 'tag', there.tag)
elseif not there.marker and there.last and not behind(last, added, there.last, there.added) then
  -- Written by a version that had no markers.
  there.marker = marker
  redis.call('HSET', KEYS[1], 'marker', marker)
end
if there.token ~= ARGV[1] or ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'token', ARGV[1])
end

-- At 0, so that a worker that starts late misses nothing. Looked for first, because a refused XGROUP CREATE would be
-- counted as an error of the server every few seconds.
local grouped = false
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
    if flat[2] == ARGV[2] then
      grouped = true
      if beyond(named(flat), last) then redis.call('XGROUP', 'SETID', KEYS[2], ARGV[2], last) end
    end
  end
end
if not grouped then
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
  -- From the start: whatever happens to the group before the first look is seen by that.
  if ARGV[5] == '1' then watch(KEYS[2], KEYS[3], ARGV[2], marker, '0-0') end
end

return {
  'opened', there.batch, there.tag, there.previous or '', there.messages or '',
  there.first or '', there.last or '', marker, there.marker == marker and 0 or 1,
}
