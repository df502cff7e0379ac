package redis.clients.jedis.params;

/** The signatures of Jedis that docs/java.md uses. */
public class XReadGroupParams {
  public static XReadGroupParams xReadGroupParams() {
    return new XReadGroupParams();
  }

  public XReadGroupParams count(int count) {
    return this;
  }

  public XReadGroupParams block(int milliseconds) {
    return this;
  }
}
