-- Take a consumer off the group's list, unless it holds entries: those would be forgotten with it.
--
-- KEYS[1] stream   ARGV[1] group   ARGV[2] consumer
--
-- 1 removed   0 it holds entries

if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
