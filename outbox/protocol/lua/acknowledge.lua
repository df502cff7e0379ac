-- Acknowledge an entry whose message is not in the outbox's database, and remove it unless another group needs it, if no
-- other outbox can have added it: the stream is this outbox's, and the entry came after that was put on record. If it may be
-- another's, it is left; and a consumer that holds it gives it to one that reads nothing, so that the relay which has the
-- message finds it abandoned.
--
-- KEYS[1] stream   KEYS[2] the stream's record
-- ARGV[1] the outbox, as is_ours takes it   ARGV[2] group   ARGV[3] entry   ARGV[4] who holds it, or ''   ARGV[5] who is to get it
--
-- {'acknowledged'}   {'left'}   {'foreign', identity, database, hosts}: the stream belongs to that outbox

local foreign = of_another(KEYS[2], ARGV[1])
if foreign then return foreign end
local record = redis.call('HMGET', KEYS[2], 'outbox', 'since')
if record[1] and is_id(record[2]) and earlier(record[2], ARGV[3]) then
  redis.call('XACK', KEYS[1], ARGV[2], ARGV[3])
  remove_unneeded(KEYS[1], ARGV[2], {ARGV[3]})
  return {'acknowledged'}
end
local held = redis.call('XPENDING', KEYS[1], ARGV[2], ARGV[3], ARGV[3], 1)[1]
if held and held[2] == ARGV[4] then
  redis.call('XCLAIM', KEYS[1], ARGV[2], ARGV[5], 0, ARGV[3], 'IDLE', 0, 'JUSTID')
end
return {'left'}
