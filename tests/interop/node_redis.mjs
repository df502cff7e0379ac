// A worker of node-redis (npm install redis@5).

import { createClient } from 'redis';

const [stream, group, consumer] = ['file_parsing_queue', 'file_parsers', 'node-1'];

async function parse(fields) {
  console.log(JSON.stringify(fields)); // parse the file, and set `parsing` on its record
}

const redis = createClient({ url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379/0' });
redis.on('error', (error) => console.error(error));
await redis.connect();
let start = '0'; // what this consumer was given before a crash comes first
for (;;) {
  const reply = await redis.xReadGroup(group, consumer, { key: stream, id: start }, { COUNT: 10, BLOCK: 5000 });
  const entries = reply?.[0].messages ?? [];
  for (const { id, message } of entries) {
    await parse(message);
    await redis.xAck(stream, group, id);
  }
  if (!entries.length) start = '>';
}
