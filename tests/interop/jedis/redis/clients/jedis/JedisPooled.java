package redis.clients.jedis;

import java.net.URI;
import java.util.List;
import java.util.Map;
import redis.clients.jedis.params.XReadGroupParams;
import redis.clients.jedis.resps.StreamEntry;

/** The signatures of Jedis that docs/java.md uses. */
public class JedisPooled implements AutoCloseable {
  public JedisPooled(URI uri) {}

  public List<Map.Entry<String, List<StreamEntry>>> xreadGroup(
      String group, String consumer, XReadGroupParams params, Map<String, StreamEntryID> streams) {
    return null;
  }

  public long xack(String key, String group, StreamEntryID... ids) {
    return 0;
  }

  @Override
  public void close() {}
}
