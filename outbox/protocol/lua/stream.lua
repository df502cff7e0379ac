-- Put before the other scripts. Where a stream stands, and whether it is still the one that was there before.

-- The stream's last-generated-id and how many entries were ever added to it ('' before Redis 7). Neither goes back when
-- entries are deleted or trimmed. A stream that is not there stands at 0-0. Fails on a key of another type. Then the
-- first entry that is there, and how many are.
local function position(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then
    if redis.call('EXISTS', stream) == 0 then return '0-0', 0, '0-0', 0 end
    redis.call('XINFO', 'STREAM', stream)  -- fails in its own words
  end
  local there = {['last-generated-id'] = '0-0', ['entries-added'] = '', ['recorded-first-entry-id'] = '0-0', length = 0}
  for i = 1, #info, 2 do there[info[i]] = info[i + 1] end
  return there['last-generated-id'], there['entries-added'], there['recorded-first-entry-id'], there.length
end

-- The fields of a reply that alternates names and values.
local function named(flat)
  local values = {}
  for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
  return values
end

-- The message and the attempt that an entry's words speak of; '' where others have added it.
local function speaks_of(words)
  local message, attempt = '', ''
  for i = 1, #words, 2 do
    if words[i] == 'message_id' then message = words[i + 1] end
    if words[i] == 'attempt' then attempt = words[i + 1] end
  end
  return message, attempt
end

-- Whether a value in one of our hashes is the id of an entry. Anybody can write there, and what is none cannot be compared.
local function is_id(text)
  return text and #text <= 41 and string.match(text, '^%d+%-%d+$') ~= nil
end

-- Whether it is a whole number that a float holds exactly, and MongoDB can take.
local function is_number(text)
  return text and #text <= 15 and string.match(text, '^%d+$') ~= nil
end

-- Numbers in ids go up to 2^64, and a float is exact up to 2^53: so they are compared as text.
local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local function earlier(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_seq = string.match(b, '(%d+)-(%d+)')
  if a_ms ~= b_ms then return less(a_ms, b_ms) end
  return less(a_seq, b_seq)
end

local function plus_one(number)
  local head, nines = string.match(number, '^(%d-)(9*)$')
  local raised = head == '' and '1' or string.sub(head, 1, -2) .. string.char(string.byte(head, -1) + 1)
  return raised .. string.rep('0', #nines)
end

-- The first id that an entry after this one can have.
local function after(id)
  local ms, sequence = string.match(id, '(%d+)-(%d+)')
  if sequence ~= '18446744073709551615' then return ms .. '-' .. plus_one(sequence) end
  if ms ~= '18446744073709551615' then return plus_one(ms) .. '-0' end
  return id  -- there is none, and Redis adds nothing to such a stream any more
end

-- The stream was deleted, or replaced by an older copy, since it stood at `known_last`. The count finds a stream that
-- was deleted and that somebody else has added to since.
local function behind(last, added, known_last, known_added)
  if earlier(last, known_last) then return true end
  local now, before = tonumber(added), tonumber(known_added or '')
  return now ~= nil and before ~= nil and now < before
end

-- It was deleted and filled by others with no fewer entries than it had: all that is there came after what was known,
-- and is more than can have been added since.
local function refilled(added, first, length, known_last, known_added)
  local now, before = tonumber(added), tonumber(known_added or '')
  return now ~= nil and before ~= nil and earlier(known_last, first) and length > now - before
end

-- Another one was put in its place (RENAME, COPY), one that somebody adds more to: the first entry of one and the same
-- stream never goes down. Nothing is said by a stream without entries, by a server that tells no first entry, nor by a
-- record of the version before, which has none.
local function replaced(first, length, known_first)
  return length > 0 and first ~= '0-0' and is_id(known_first) and earlier(first, known_first)
end

-- What all partitions of a stream know of it together: its marker, which a new one gets anew, and where it stood.
-- Returns the marker (false: this stream is another one, or nobody has marked it yet), where it stands now, where it
-- stood, the identity of the outbox on record, the first entry that is there, how many are, and the database on record.
local function recognize(stream, record)
  local last, added, first, length = position(stream)
  local known = redis.call('HMGET', record, 'marker', 'last', 'added', 'outbox', 'first', 'database')
  local same = known[1] and is_id(known[2]) and not behind(last, added, known[2], known[3])
    and not refilled(added, first, length, known[2], known[3])
    and not replaced(first, length, known[5])
  return same and known[1], last, added, known[2], known[4], length > 0 and first or '0-0', length, known[6]
end

-- Remove entries that the group `own` is done with, except those that another group has still to be given, or holds: they
-- are trimmed when none needs them any more. Where nobody may ask about groups, all of them stay for that.
local function remove_unneeded(stream, own, ids)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return end
  local function needed(id)
    for _, flat in ipairs(groups) do
      local group = named(flat)
      if group['name'] ~= own then
        if earlier(group['last-delivered-id'], id) then return true end
        local held = group['pending'] > 0 and redis.pcall('XPENDING', stream, group['name'], id, id, 1) or {}
        if held.err or #held > 0 then return true end
      end
    end
    return false
  end
  for _, id in ipairs(ids) do
    if not needed(id) then redis.call('XDEL', stream, id) end
  end
end

-- Whether an outbox that is on record is `ours`: its identity, and behind a space its database. A copy of a database has
-- the identity of what it was made of. Records of before may name no database.
local function is_ours(identity, database, ours)
  local own, name = string.match(ours, '^(%S*) ?(.*)$')
  return identity == own and (name == '' or (database or '') == '' or database == name)
end

-- What a script answers at a stream whose record names another outbox than `ours`; false at any other.
local function of_another(record, ours)
  local owner = redis.call('HMGET', record, 'outbox', 'database', 'hosts')
  if not owner[1] or is_ours(owner[1], owner[2], ours) then return false end
  return {'foreign', owner[1], owner[2] or '', owner[3] or ''}
end

-- Whether more than `limit` entries come from this one on. To count them is to read them, which holds the server up: so
-- after 10,000 of them, or about 2 MB, what comes then counts as more, and the limit is no higher than what was counted.
local function more_than(limit, stream, from)
  local count, bytes, page = 0, 0, 10
  while count <= limit and count <= 10000 and bytes < 2000000 do
    local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', page)
    for _, entry in ipairs(entries) do
      for _, word in ipairs(entry[2]) do bytes = bytes + #word end
    end
    count = count + #entries
    if #entries < page then return count > limit end
    from = after(entries[page][1])
    page = bytes < 2000 * count and 100 or 10  -- few of large ones
  end
  return true
end

-- Whether the group has still to be given more than `limit` entries. Cheap, however long the stream is; unless, which is the
-- second value, they had to be counted.
local function waits_for_more_than(limit, stream, group)
  if redis.call('XLEN', stream) <= limit then return false end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local values = {}
    for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
    if values['name'] == group then
      local lag, delivered = values['lag'], values['last-delivered-id']
      -- Who sets a group can give it a wrong count, which stays wrong, however much it reads.
      if not earlier(delivered, (position(stream))) then return false end
      if lag and lag >= 0 then return lag > limit end
      -- Redis has lost count, because entries ahead of the group were deleted; or somebody who set the group gave a wrong
      -- count.
      return more_than(limit, stream, after(delivered)), true
    end
  end
  return true
end

-- Whether a group, as XINFO knows it, was set beyond the end of its stream, where it would be given nothing that is added.
local function beyond(group, last)
  return earlier(last, group['last-delivered-id'])
end

-- The consumer that marks a group: it reads nothing, and is gone with the group, or with the stream, however soon both are
-- made again under their names.
local MARK = 'outbox-mark'

-- How often a command was called, of what the server has counted of it.
local function calls(count)
  return type(count) == 'string' and tonumber(string.match(count, 'calls=(%d+)')) or 0
end

-- The id of this run of the server, and how often it was asked to acknowledge entries, to set and to make a group, and to
-- remove a consumer. It counts from 0 after a start, and after CONFIG RESETSTAT: `resets`, the time that the last one took, is
-- another one then, or `looks`, of which each look at a group is one, has not risen, nor does it where a server
-- does not count. `server` is '' where this user, or this server, does not tell.
local function counted()
  local stats, server = redis.pcall('INFO', 'commandstats'), redis.pcall('INFO', 'server')
  if type(stats) ~= 'string' or type(server) ~= 'string' then stats, server = '', '' end
  local function count(command)
    return string.match(stats, 'cmdstat_' .. command .. ':(calls=%d+,usec=%d+)') or '0'
  end
  return {
    server = string.match(server, 'run_id:(%w+)') or '', resets = count('config|resetstat'),
    acks = count('xack') .. ' ' .. count('xackdel'), sets = count('xgroup|setid'), creates = count('xgroup|create'),
    removals = count('xgroup|delconsumer'), looks = calls(count('xinfo|consumers')),
  }
end

-- Whether both were counted from the same start. The version before did not store all of it.
local function comparable(before, now)
  return before.server ~= '' and before.server == now.server and (not before.resets or before.resets == now.resets)
    and (type(before.looks) ~= 'number' or before.looks < now.looks)
end

-- What a look at a group found, as it is stored; false for what look.lua has not written.
local function read_look(text)
  local read, look = pcall(cjson.decode, text)
  if not read or type(look) ~= 'table' or type(look.held) ~= 'table' then return false end
  for _, name in ipairs({'seen', 'done', 'trusted'}) do
    if type(look[name]) ~= 'string' or not is_id(look[name]) then return false end
  end
  for _, name in ipairs({'later', 'latest', 'missed'}) do
    if look[name] ~= nil and type(look[name]) ~= 'table' then return false end
  end
  local later, doubts = look.later, {removed = 1, perhaps = 1, silence = 1, nobody = 1, destroyed = 1, set = 1}
  if later and (type(later.given) ~= 'string' or not is_id(later.given)) then return false end
  if later and later.doubt ~= nil and not doubts[later.doubt] then return false end
  for _, entries in ipairs({look.held, look.missed or {}}) do
    for _, one in ipairs(entries) do
      if type(one) ~= 'table' or type(one[1]) ~= 'string' or not is_id(one[1]) or type(one[2]) ~= 'string' then
        return false
      end
      if one[3] ~= nil and not doubts[one[3]] then return false end
    end
  end
  return look
end

-- Begin to watch a group's acknowledgements, see look.lua. What it has been given by now, up to `trusted`, is taken for
-- acknowledged once it is no longer held: nobody has watched it.
local function watch(stream, record, group, marker, trusted)
  redis.call('XGROUP', 'CREATECONSUMER', stream, group, MARK)
  local look = counted()
  look.marker, look.trusted, look.seen, look.done, look.held, look.tag = marker, trusted, '0-0', '0-0', {}, ''
  redis.call('HSET', record, 'look', cjson.encode(look))
  return look
end
