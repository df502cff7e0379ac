-- Publish one batch: all of its entries and the checkpoint, or nothing. One script is one unit in the append-only
-- file, in replication and in a failover, so stream and checkpoint are lost or kept together.
--
-- KEYS[1] checkpoint   KEYS[2] stream         KEYS[3] the stream's record
-- ARGV[1] token        ARGV[2] batch number   ARGV[3] tag   ARGV[4] tag of the batch that it follows
-- ARGV[5] messages, 'id:attempt' by spaces: those of this batch, and before them all that may not be marked yet
-- ARGV[6] entries, as JSON: a list of lists of words (name, value, name, value, …). One argument, because thousands
--         of them take client and server several times longer to write and read. A number in it stands for a long word,
--         which is the argument that is so many after ARGV[10].
-- ARGV[7] consumer group   ARGV[8] the most that it may have to be given still, before this batch; -1: no limit
-- ARGV[9] the outbox, as is_ours takes it
-- ARGV[10] '' or, of the batches that may not be marked yet: the tags that they follow, from the first one's on, as one
--          word, and the first one's first entry, after a space
--
-- {'published', first entry, last entry}
-- {'repeated', first entry, last entry}   this very batch is there already: a retry after a lost reply
-- {'fenced', token there or ''}           another owner has opened, or the checkpoint is gone
-- {'full'}                                the group is behind by more than that: nothing was added
-- {'foreign', identity, database, hosts}   the stream belongs to that outbox
-- {'gap'}                                 it does not follow what is there, or the stream is another one, or names nobody

local foreign = of_another(KEYS[3], ARGV[9])
if foreign then return foreign end
local there = redis.call('HMGET', KEYS[1], 'token', 'tag', 'marker', 'first', 'last')
if there[1] ~= ARGV[1] then
  return {'fenced', there[1] or ''}
end
if there[2] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'tag', ARGV[3])  -- as it was, so that a WAIT behind this call has what to wait for
  return {'repeated', there[4], there[5]}
end
local marker, last, added, _, owner, begins, length = recognize(KEYS[2], KEYS[3])
if there[2] ~= ARGV[4] or not marker or there[3] ~= marker or not owner then
  return {'gap'}
end
if is_id(there[5]) and earlier(last, there[5]) then
  return {'gap'}  -- an older copy of the stream, see open.lua: what is added now would hide that
end
if ARGV[8] ~= '-1' and waits_for_more_than(tonumber(ARGV[8]), KEYS[2], ARGV[7]) then
  return {'full'}
end
-- Redis does not undo what a script has added before it fails. So what may fail is tried before: whether this user may
-- write both hashes, of whose rights one may just have been taken, and whether there are ids left, which is not so after
-- an entry of others under the last millisecond that there is.
redis.call('HSET', KEYS[1], 'tag', ARGV[4])
redis.call('HSET', KEYS[3], 'marker', marker)
if string.match(last, '^18446744073709551615%-') then
  return redis.error_reply('ERR The stream has exhausted the last possible ID')
end

-- All of one millisecond, also where a script's clock goes on (Redis 7.0): so the ids of a batch follow one another. Not
-- after an entry of others with the last numbers of its millisecond: there, only '*' goes on to the next one.
local first
local id = '*'
local entries = cjson.decode(ARGV[6])
for _, words in ipairs(entries) do
  if #ARGV > 10 then
    for i, word in ipairs(words) do
      if type(word) == 'number' then words[i] = ARGV[10 + word] end
    end
  end
  last = redis.call('XADD', KEYS[2], id, unpack(words))
  if not first then
    first = last
    local millisecond, number = string.match(first, '^(%d+)%-(%d+)$')
    if #number < 20 then id = millisecond .. '-*' end
  end
end

-- What is on record is all that may not be marked: a version that knows of one batch only takes it for another history.
local tags, begin = string.match(ARGV[10], '^(%w+) (.+)$')
redis.call('HSET', KEYS[1], 'batch', ARGV[2], 'tag', ARGV[3], 'previous', (tags or '') .. ARGV[4],
  'messages', ARGV[5], 'first', begin or first, 'last', last)
if length == 0 and added ~= '' then begins = first end  -- without a count, a server tells no first entry either
redis.call('HSET', KEYS[3], 'last', last, 'added', added == '' and '' or added + #entries, 'first', begins)
return {'published', first, last}
