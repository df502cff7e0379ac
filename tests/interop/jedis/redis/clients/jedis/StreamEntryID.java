package redis.clients.jedis;

/** The signatures of Jedis that docs/java.md uses. */
public class StreamEntryID {
  public static final StreamEntryID XREADGROUP_UNDELIVERED_ENTRY = new StreamEntryID(0, 0);

  public StreamEntryID(long time, long sequence) {}
}
