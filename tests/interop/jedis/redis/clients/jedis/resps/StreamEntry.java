package redis.clients.jedis.resps;

import java.util.Map;
import redis.clients.jedis.StreamEntryID;

/** The signatures of Jedis that docs/java.md uses. */
public class StreamEntry {
  public StreamEntryID getID() {
    return null;
  }

  public Map<String, String> getFields() {
    return null;
  }
}
