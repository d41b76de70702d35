// A round through what a service does with a broker, with amqplib: `node round.js amqp://…`. Ends with status 0 and the
// number of stories told, or with the story that failed.
'use strict';
const assert = require('node:assert/strict');
const amqp = require('amqplib');

const url = process.argv[2];
const stem = `node.${process.pid}`;
let channel;

const stories = {
  async 'confirmed, consumed within the prefetch, acknowledged'(connection) {
    const tasks = await durable('tasks');
    const confirming = await connection.createConfirmChannel();
    for (let n = 0; n < 100; n++) confirming.sendToQueue(tasks, Buffer.from(String(n)), { persistent: true });
    await confirming.waitForConfirms();
    await channel.prefetch(10);
    const seen = [];
    let open = 0;
    await consumed(tasks, 100, (message) => {
      open += 1;
      assert(open <= 10, 'more than the prefetch');
      seen.push(Number(message.content));
      setImmediate(() => { open -= 1; channel.ack(message); });
    });
    assert.deepEqual(seen, [...Array(100).keys()]);
    assert.equal((await channel.checkQueue(tasks)).messageCount, 0);
  },

  async 'what is given back comes again, marked and in its place'() {
    const tasks = await durable('back');
    for (const task of ['a', 'b']) channel.sendToQueue(tasks, Buffer.from(task));
    const first = await got(tasks);
    assert.equal(first.fields.redelivered, false);
    channel.nack(first, false, true);
    const again = await got(tasks);
    assert.deepEqual([text(again), again.fields.redelivered, again.fields.messageCount], ['a', true, 1]);
    channel.ack(again);
    channel.ack(await got(tasks));
    assert.equal(await channel.get(tasks), false);
  },

  async 'what is rejected becomes a dead letter with its story'() {
    const dead = await durable('dead');
    const exchange = `${stem}.letters`;
    await channel.assertExchange(exchange, 'topic');
    await channel.bindQueue(dead, exchange, 'failed.#');
    const work = await durable('work', { deadLetterExchange: exchange, deadLetterRoutingKey: 'failed.order' });
    channel.sendToQueue(work, Buffer.from('order'), { headers: { own: 1 }, messageId: 'm-1' });
    channel.reject(await got(work), false);
    const letter = await got(dead);
    const [death] = letter.properties.headers['x-death'];
    assert.deepEqual([death.reason, death.queue, death.count], ['rejected', work, 1]);
    assert.deepEqual([letter.properties.messageId, letter.properties.headers.own], ['m-1', 1]);
    channel.ack(letter);
  },

  async 'what nobody wants comes back'(connection) {
    const confirming = await connection.createConfirmChannel();
    const returned = new Promise((resolve) => confirming.once('return', resolve));
    confirming.publish('', `${stem}.nowhere`, Buffer.from('lost'), { mandatory: true });
    const message = await returned;
    assert.deepEqual([text(message), message.fields.replyCode, message.fields.replyText], ['lost', 312, 'NO_ROUTE']);
    await confirming.waitForConfirms();
  },

  async 'every kind of header and property arrives as it was'() {
    const queue = await durable('headers');
    const headers = {
      text: 'ñandú', yes: true, no: false, small: 1, negative: -70000, large: 2 ** 40, half: 0.5, nothing: null,
      list: [1, 'two', { three: 3 }], table: { deep: { deeper: [] } }, bytes: Buffer.from([0, 255]),
      when: { '!': 'timestamp', value: 1700000000 },
    };
    const properties = {
      headers, contentType: 'application/json', contentEncoding: 'utf-8', priority: 3, correlationId: 'c', replyTo: 'r',
      messageId: 'm', timestamp: 1700000000, type: 't', appId: 'a', expiration: '60000',
    };
    channel.sendToQueue(queue, Buffer.alloc(0), properties);
    const message = await got(queue);
    for (const [name, value] of Object.entries(properties)) {
      assert.deepEqual(message.properties[name], value, name);
    }
    channel.ack(message);
  },

  async 'a large body arrives whole'() {
    const queue = await durable('large');
    const body = Buffer.alloc(3_000_000, 'cauce ');
    channel.sendToQueue(queue, body, { persistent: true });
    const message = await got(queue);
    assert(message.content.equals(body));
    channel.ack(message);
  },

  async 'exchanges route by key, by pattern and by header'() {
    const kinds = { direct: ['a.b', {}], fanout: ['', {}], topic: ['a.*', {}], headers: ['', { 'x-match': 'any', h: 1 }] };
    for (const [kind, [key, wanted]] of Object.entries(kinds)) {
      const exchange = `${stem}.${kind}`;
      await channel.assertExchange(exchange, kind, { autoDelete: true });
      const { queue } = await channel.assertQueue('', { exclusive: true });
      await channel.bindQueue(queue, exchange, key, wanted);
      channel.publish(exchange, 'a.b', Buffer.from(kind), { headers: { h: 1 } });
      channel.publish(exchange, 'x', Buffer.from('other'), { headers: { h: 2 } });
      const bodies = [text(await got(queue)), ...(kind === 'fanout' ? [text(await got(queue))] : [])];
      assert.deepEqual(bodies, kind === 'fanout' ? ['fanout', 'other'] : [kind]);
      assert.equal(await channel.get(queue), false);
    }
  },

  async 'a request is answered over direct reply-to'() {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const server = await channel.consume(queue, (request) => {
      const { replyTo, correlationId } = request.properties;
      channel.sendToQueue(replyTo, Buffer.from(`${text(request)}!`), { correlationId });
    }, { noAck: true });
    const answer = new Promise((resolve) => {
      channel.consume('amq.rabbitmq.reply-to', resolve, { noAck: true }).then(() => {
        channel.sendToQueue(queue, Buffer.from('hola'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: '7' });
      });
    });
    const reply = await answer;
    assert.deepEqual([text(reply), reply.properties.correlationId], ['hola!', '7']);
    await channel.cancel(server.consumerTag);
  },

  async 'a consumer is told when its queue goes, and cancels when it likes'() {
    const queue = await durable('brief');
    const cancelled = new Promise((resolve) => channel.consume(queue, (message) => message ?? resolve('cancelled')));
    await channel.checkQueue(queue);
    await channel.deleteQueue(queue);
    assert.equal(await cancelled, 'cancelled');
  },

  async 'a mistake closes its channel with the reason, and no other'(connection) {
    const queue = await durable('strict');
    const mistakes = [
      [(other) => other.assertQueue(queue, { durable: false }), 406],
      [(other) => other.checkQueue(`${stem}.missing`), 404],
      [(other) => other.checkExchange(`${stem}.missing`), 404],
      [(other) => other.assertExchange('amq.mine', 'direct'), 403],
    ];
    for (const [mistake, code] of mistakes) {
      const other = await connection.createChannel();
      const closed = new Promise((resolve) => other.once('error', resolve));
      await assert.rejects(mistake(other));
      assert.equal((await closed).code, code);
    }
    await channel.checkQueue(queue);
  },

  async 'purge and delete say how many'() {
    const queue = await durable('counted');
    for (let n = 0; n < 5; n++) channel.sendToQueue(queue, Buffer.from('x'));
    assert.equal((await channel.purgeQueue(queue)).messageCount, 5);
    channel.sendToQueue(queue, Buffer.from('x'));
    assert.equal((await channel.deleteQueue(queue)).messageCount, 1);
  },
};

async function durable(part, options = {}) {
  const name = `${stem}.${part}`;
  await channel.assertQueue(name, { durable: true, ...options });
  return name;
}

async function got(queue) {
  for (let tries = 0; tries < 1000; tries++) {
    const message = await channel.get(queue);
    if (message) return message;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`nothing arrived in ${queue}`);
}

async function consumed(queue, count, take) {
  let consumer;
  await new Promise((resolve, reject) => {
    channel.consume(queue, (message) => {
      try {
        take(message);
        count -= 1;
        if (count === 0) setTimeout(resolve, 50);
      } catch (error) {
        reject(error);
      }
    }).then((answer) => { consumer = answer.consumerTag; });
  });
  await channel.cancel(consumer);
}

const text = (message) => message.content.toString();

async function main() {
  for (const [name, story] of Object.entries(stories)) {
    const connection = await amqp.connect(url);
    channel = await connection.createChannel();
    try {
      await story(connection);
      await connection.close();
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      process.exit(1);
    }
  }
  const cleaning = await amqp.connect(url);
  const cleaner = await cleaning.createChannel();
  for (const part of ['tasks', 'back', 'dead', 'work', 'headers', 'large', 'strict']) await cleaner.deleteQueue(`${stem}.${part}`);
  await cleaning.close();
  console.log(`${Object.keys(stories).length} stories told`);
}

main();
