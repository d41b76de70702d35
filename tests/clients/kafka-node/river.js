// Down the river with KafkaJS: `node river.js 127.0.0.1:9092`. Ends with status 0 and the number of stories told, or with
// the story that failed.
'use strict';
const assert = require('node:assert/strict');
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require('kafkajs');
const LZ4 = require('kafkajs-lz4');
const Snappy = require('kafkajs-snappy');

CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec;
CompressionCodecs[CompressionTypes.Snappy] = Snappy;
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';

const PATIENCE_MS = 30_000;
// For records that say they are old.
const ETERNAL = { 'retention.ms': '-1' };
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING });
const admin = kafka.admin();

const stories = {
  async 'records of a key stay in order, and are committed by hand'(topic) {
    await create(topic, 3);
    const sent = numbers(300).map((n) => ({ key: `order-${n % 7}`, value: String(n) }));
    await produced(topic, sent);
    const places = {};
    const values = {};
    // Two lives of one service, the second going on where the first one committed.
    for (const share of [120, 180]) {
      let left = share;
      await consumed(topic, topic, share, async (message, consumer) => {
        if (left-- <= 0) return;
        (places[message.key] ??= new Set()).add(message.partition);
        (values[message.key] ??= []).push(Number(message.value));
        await consumer.commitOffsets([{ topic, partition: message.partition, offset: String(Number(message.offset) + 1) }]);
      });
    }
    for (const key of Object.keys(values)) {
      assert.equal(places[key].size, 1);
      assert.deepEqual(values[key], [...values[key]].sort((a, b) => a - b));
    }
    assert.equal(Object.values(values).flat().length, 300);
  },

  async 'keys, times and headers come back as they were'(topic) {
    await create(topic, 1, ETERNAL);
    await produced(topic, [
      { key: 'k', value: 'ñandú', timestamp: '1600000000123', headers: { a: ['1', '2'], b: Buffer.from([0, 255]) } },
      { key: null, value: null },
    ]);
    const [first, second] = await read(topic, 2);
    assert.deepEqual([text(first.key), text(first.value), first.timestamp], ['k', 'ñandú', '1600000000123']);
    assert.deepEqual([first.headers.a.map(text), first.headers.b], [['1', '2'], Buffer.from([0, 255])]);
    assert.deepEqual([second.key, second.value, second.headers], [null, null, {}]);
  },

  async 'each group reads everything'(topic) {
    await create(topic, 2);
    await produced(topic, numbers(100).map((n) => ({ value: String(n) })));
    for (const group of ['billing', 'shipping']) {
      const seen = new Set();
      await consumed(topic, `${topic}.${group}`, 100, (message) => seen.add(text(message.value)));
      assert.equal(seen.size, 100);
    }
  },

  async 'members share a topic, and take over'(topic) {
    await create(topic, 4);
    const first = await member(topic);
    await until(() => first.share.length === 4);
    const second = await member(topic);
    await until(() => first.share.length === 2 && second.share.length === 2);
    assert.deepEqual([...first.share, ...second.share].sort(), [0, 1, 2, 3]);
    const { groups: [group] } = await admin.describeGroups([topic]);
    assert.deepEqual([group.state, group.members.length], ['Stable', 2]);
    await first.consumer.disconnect();
    await until(() => second.share.length === 4);
    await second.consumer.disconnect();
  },

  async 'a consumer rewinds, and seeks by time'(topic) {
    await create(topic, 1, ETERNAL);
    await produced(topic, numbers(50).map((n) => ({ value: String(n), timestamp: String(1600000000000 + n * 10) })));
    const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(topic, 1600000000201);
    assert.equal(offset, '21');
    const seen = [];
    const consumer = kafka.consumer({ groupId: topic, maxWaitTimeInMs: 200 });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { seen.push(Number(message.value)); } });
    await until(() => seen.length === 50);
    consumer.seek({ topic, partition: 0, offset });
    await until(() => seen.length === 79);
    consumer.seek({ topic, partition: 0, offset: '0' });
    await until(() => seen.length === 129);
    await consumer.disconnect();
    assert.deepEqual(seen, [...numbers(50), ...numbers(50).slice(21), ...numbers(50)]);
  },

  async 'every compression comes back, also of an idempotent producer'(topic) {
    await create(topic, 1);
    const types = [CompressionTypes.None, CompressionTypes.GZIP, CompressionTypes.Snappy, CompressionTypes.LZ4];
    const producer = kafka.producer({ idempotent: true });
    await producer.connect();
    for (const compression of types) {
      await producer.send({ topic, compression, messages: numbers(200).map((n) => ({ value: `value ${n}` })) });
    }
    await producer.disconnect();
    const expected = types.flatMap(() => numbers(200).map((n) => `value ${n}`));
    assert.deepEqual((await read(topic, 800)).map((message) => text(message.value)), expected);
  },

  async 'a transaction is all or nothing to read_committed'(topic) {
    await create(topic, 1);
    const producer = kafka.producer({ transactionalId: topic, idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    for (const outcome of ['aborted', 'kept', 'aborted', 'kept']) {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: numbers(10).map(() => ({ value: outcome })) });
      await (outcome === 'kept' ? transaction.commit() : transaction.abort());
    }
    assert.deepEqual((await read(topic, 20)).map((message) => text(message.value)), numbers(20).map(() => 'kept'));
    const all = await read(topic, 40, { readUncommitted: true });
    assert.equal(all.filter((message) => text(message.value) === 'aborted').length, 20);
    // The offsets of what was read belong to the transaction too.
    for (const commit of [false, true]) {
      const transaction = await producer.transaction();
      const topics = [{ topic, partitions: [{ partition: 0, offset: '7' }] }];
      await transaction.sendOffsets({ consumerGroupId: `${topic}.group`, topics });
      await (commit ? transaction.commit() : transaction.abort());
      // They count once the group has the transaction's marker, which comes after the answer.
      await until(async () => {
        const [{ partitions: [{ offset }] }] = await admin.fetchOffsets({ groupId: `${topic}.group`, topics: [topic] });
        return offset === (commit ? '7' : '-1');
      });
    }
    await producer.disconnect();
  },

  async 'a compacted topic keeps the last record of each key'(topic) {
    await create(topic, 1, { 'cleanup.policy': 'compact', 'segment.ms': '200', 'min.cleanable.dirty.ratio': '0.01' });
    await produced(topic, numbers(50).map((n) => ({ key: `k${n % 5}`, value: String(n) })));
    await new Promise((resolve) => setTimeout(resolve, 300));
    // Starts a new segment: only those behind it are compacted.
    await produced(topic, [{ key: 'last', value: '' }]);
    await until(async () => (await read(topic, 6)).map((message) => text(message.value)).join() === '45,46,47,48,49,');
  },

  async 'topics, settings, records and groups are administered'(topic) {
    await create(topic, 2, { 'retention.ms': '60000' });
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false);
    await assert.rejects(admin.createTopics({ topics: [{ topic: `${topic}2`, replicationFactor: 3 }] }));
    assert((await admin.listTopics()).includes(topic));
    assert.equal((await admin.describeCluster()).brokers.length, 1);
    await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
    const { topics: [{ partitions }] } = await admin.fetchTopicMetadata({ topics: [topic] });
    assert.equal(partitions.length, 4);
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
    await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '70000' }] }] });
    const { resources: [{ configEntries }] } = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }] });
    assert.deepEqual(configEntries.map((entry) => [entry.configName, entry.configValue]), [['retention.ms', '70000']]);
    await produced(topic, numbers(10).map((n) => ({ value: String(n), partition: 3 })));
    // KafkaJS looks for the leader among the topics it has asked for before.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 3, offset: '4' }] });
    const { low, high } = (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === 3);
    assert.deepEqual([low, high], ['4', '10']);
    const groupId = `${topic}.group`;
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 3, offset: '7' }] });
    assert((await admin.listGroups()).groups.some((group) => group.groupId === groupId));
    await admin.deleteGroups([groupId]);
    assert(!(await admin.listGroups()).groups.some((group) => group.groupId === groupId));
    await admin.deleteTopics({ topics: [topic] });
    assert(!(await admin.listTopics()).includes(topic));
  },
};

async function create(topic, numPartitions, configs = {}) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }] });
}

async function produced(topic, messages) {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages });
  await producer.disconnect();
}

/** Hands `count` messages or more to `take`; what it commits is all that is committed. */
async function consumed(topic, groupId, count, take, more = {}) {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, ...more });
  let failed;
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      try {
        await take({ ...message, partition }, consumer);
      } catch (error) {
        failed = error;
      }
      count -= 1;
    },
  });
  await until(() => count <= 0 || failed);
  await consumer.disconnect();
  if (failed) throw failed;
}

let groups = 0;

async function read(topic, count, more = {}) {
  const messages = [];
  await consumed(topic, `${topic}.reader.${groups++}`, count, (message) => messages.push(message), more);
  return messages;
}

async function member(topic) {
  const consumer = kafka.consumer({ groupId: topic, heartbeatInterval: 100, maxWaitTimeInMs: 100 });
  const member = { consumer, share: [] };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { member.share = payload.memberAssignment[topic] ?? []; });
  await consumer.connect();
  await consumer.subscribe({ topic });
  await consumer.run({ eachMessage: async () => {} });
  return member;
}

async function until(wanted) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!await wanted()) {
    if (Date.now() > deadline) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const numbers = (count) => [...Array(count).keys()];
const text = (buffer) => buffer?.toString();

async function main() {
  await admin.connect();
  let number = 0;
  for (const [name, story] of Object.entries(stories)) {
    try {
      await story(`node.${process.pid}.${number++}`);
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    }
  }
  await admin.disconnect();
  console.log(`${number} stories told`);
}

main();
