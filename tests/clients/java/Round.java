// A round through what a service does with a broker, with RabbitMQ's own Java client: `java -cp … Round.java amqp://…`.
// Ends with status 0 and the number of stories told, or with the story that failed.

import com.rabbitmq.client.*;
import com.rabbitmq.client.impl.LongStringHelper;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;

public class Round {
    static final long PATIENCE_SECONDS = 10;
    static final String STEM = "java." + ProcessHandle.current().pid() + ".";

    interface Story { void tell() throws Exception; }

    static ConnectionFactory factory = new ConnectionFactory();
    static Connection connection;
    static Channel channel;

    public static void main(String[] arguments) throws Exception {
        factory.setUri(arguments[0]);
        var stories = new LinkedHashMap<String, Story>();
        stories.put("many publishes in flight are confirmed and arrive in order", Round::confirms);
        stories.put("a consumer holds no more than its prefetch, and one ack settles many", Round::prefetch);
        stories.put("what is given back comes again, marked and in its place", Round::requeue);
        stories.put("what is rejected, expires or is too much becomes a dead letter with its story", Round::deadLetters);
        stories.put("what nobody wants comes back", Round::returns);
        stories.put("a transaction is all or nothing", Round::transactions);
        stories.put("every kind of header and property arrives as it was", Round::headers);
        stories.put("requests are answered by RpcServer and RpcClient", Round::replyTo);
        stories.put("a consumer is told when its queue goes", Round::cancelled);
        stories.put("a mistake closes its channel with the reason, and no other", Round::mistakes);
        stories.put("a broken promise of the protocol closes the connection", Round::connectionError);
        stories.put("a lost connection recovers with all it had declared", Round::recovery);
        for (var story : stories.entrySet()) {
            connection = factory.newConnection("round");
            channel = connection.createChannel();
            try {
                story.getValue().tell();
                if (connection.isOpen()) connection.close();
            } catch (Throwable problem) {
                System.err.println(story.getKey());
                problem.printStackTrace();
                System.exit(1);
            }
        }
        System.out.println(stories.size() + " stories told");
        System.exit(0);
    }

    static void confirms() throws Exception {
        var queue = queue("confirms", Map.of());
        var open = new ConcurrentSkipListSet<Long>();
        var nacked = new ConcurrentSkipListSet<Long>();
        channel.addConfirmListener(
            (tag, multiple) -> (multiple ? open.headSet(tag, true) : open.subSet(tag, true, tag, true)).clear(),
            (tag, multiple) -> nacked.add(tag));
        channel.confirmSelect();
        for (var number = 0; number < 500; number++) {
            open.add(channel.getNextPublishSeqNo());
            publish(queue, String.valueOf(number), MessageProperties.PERSISTENT_BASIC);
        }
        channel.waitForConfirmsOrDie(PATIENCE_SECONDS * 1000);
        same(Set.of(), nacked);
        eventually(open::isEmpty);
        for (var number = 0; number < 500; number++) same(String.valueOf(number), body(take(queue, true)));
        channel.queueDelete(queue);
    }

    static void prefetch() throws Exception {
        var queue = queue("prefetch", Map.of());
        var deliveries = new LinkedBlockingQueue<Delivery>();
        channel.basicQos(10);
        var tag = channel.basicConsume(queue, false, (consumer, delivery) -> deliveries.add(delivery), consumer -> { });
        for (var number = 0; number < 25; number++) publish(queue, String.valueOf(number), null);
        for (var number = 0; number < 20; number += 10) {
            Delivery last = null;
            for (var offset = 0; offset < 10; offset++) {
                last = receive(deliveries);
                same(String.valueOf(number + offset), new String(last.getBody()));
            }
            same(null, deliveries.poll(50, TimeUnit.MILLISECONDS));
            channel.basicAck(last.getEnvelope().getDeliveryTag(), true);
        }
        for (var number = 20; number < 25; number++) receive(deliveries);
        channel.basicCancel(tag);
        channel.basicRecover(true);
        for (var number = 20; number < 25; number++) {
            var again = take(queue, true);
            same(number + " true", body(again) + " " + again.getEnvelope().isRedeliver());
        }
        channel.queueDelete(queue);
    }

    static void requeue() throws Exception {
        var queue = queue("requeue", Map.of());
        publish(queue, "a", null);
        publish(queue, "b", null);
        var first = take(queue, false);
        same(false, first.getEnvelope().isRedeliver());
        channel.basicNack(first.getEnvelope().getDeliveryTag(), false, true);
        var again = take(queue, false);
        same("a true 1", body(again) + " " + again.getEnvelope().isRedeliver() + " " + again.getMessageCount());
        channel.queueDelete(queue);
    }

    @SuppressWarnings("unchecked")
    static void deadLetters() throws Exception {
        var dead = queue("dead", Map.of());
        var work = queue("work", Map.of(
            "x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead, "x-max-length", 1));
        publish(work, "rejected", null);
        channel.basicReject(take(work, false).getEnvelope().getDeliveryTag(), false);
        publish(work, "expired", new AMQP.BasicProperties.Builder().expiration("1").build());
        var expired = take(dead, true);
        if (body(expired).equals("rejected")) expired = take(dead, true);
        publish(work, "maxlen", null);
        publish(work, "kept", null);
        for (var letter : List.of(expired, take(dead, true))) {
            var deaths = (List<Map<String, Object>>) letter.getProps().getHeaders().get("x-death");
            same(body(letter), deaths.get(0).get("reason").toString());
            same(work, deaths.get(0).get("queue").toString());
            same(1L, deaths.get(0).get("count"));
            same(Date.class, deaths.get(0).get("time").getClass());
        }
        channel.queueDelete(work);
        channel.queueDelete(dead);
    }

    static void returns() throws Exception {
        var returned = new LinkedBlockingQueue<Return>();
        channel.addReturnListener(returned::add);
        channel.basicPublish("", STEM + "nowhere", true, null, "lost".getBytes());
        var message = returned.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
        same("312 NO_ROUTE lost", message.getReplyCode() + " " + message.getReplyText() + " " + new String(message.getBody()));
    }

    static void transactions() throws Exception {
        var queue = queue("tx", Map.of());
        var other = connection.createChannel();
        channel.txSelect();
        publish(queue, "rolled back", null);
        channel.txRollback();
        publish(queue, "committed", null);
        same(null, other.basicGet(queue, true));
        channel.txCommit();
        same("committed", body(other.basicGet(queue, true)));
        channel.queueDelete(queue);
    }

    static void headers() throws Exception {
        var queue = queue("headers", Map.of());
        var headers = new HashMap<String, Object>();
        headers.put("text", LongStringHelper.asLongString("ñandú"));
        headers.put("yes", true);
        headers.put("byte", (byte) -1);
        headers.put("short", (short) -300);
        headers.put("int", -70000);
        headers.put("long", 1L << 60);
        headers.put("float", 0.5f);
        headers.put("double", 0.1);
        headers.put("decimal", new BigDecimal("3.14"));
        headers.put("when", new Date(1_700_000_000_000L));
        headers.put("nothing", null);
        headers.put("list", List.of(1, LongStringHelper.asLongString("two"), Map.of("three", 3)));
        headers.put("table", Map.of("deep", Map.of("deeper", Map.of())));
        var properties = new AMQP.BasicProperties("application/json", "utf-8", headers, 2, 3, "c", "r", "60000", "m",
            new Date(1_700_000_000_000L), "t", "guest", "a", "cluster");
        var body = "cauce ".repeat(500_000).getBytes();
        channel.basicPublish("", queue, properties, body);
        var got = take(queue, true);
        same(properties.toString(), got.getProps().toString());
        for (var name : headers.keySet()) same(headers.get(name), got.getProps().getHeaders().get(name));
        same(true, Arrays.equals(body, got.getBody()));
        var bytes = new AMQP.BasicProperties.Builder().headers(Map.of("bytes", new byte[] {0, -1})).build();
        channel.basicPublish("", queue, bytes, new byte[0]);
        same(true, Arrays.equals(new byte[] {0, -1}, (byte[]) take(queue, true).getProps().getHeaders().get("bytes")));
        channel.queueDelete(queue);
    }

    static void replyTo() throws Exception {
        var queue = channel.queueDeclare().getQueue();
        var server = new RpcServer(connection.createChannel(), queue) {
            @Override
            public byte[] handleCall(Delivery request, AMQP.BasicProperties reply) {
                return (new String(request.getBody()) + "!").getBytes();
            }
        };
        var serving = new Thread(() -> {
            try {
                server.mainloop();
            } catch (IOException | ShutdownSignalException ended) {
                // With the connection, as it should.
            }
        });
        serving.setDaemon(true);
        serving.start();
        var client = new RpcClient(new RpcClientParams().channel(channel).exchange("").routingKey(queue).timeout(10_000));
        for (var call = 0; call < 20; call++) same(call + "!", client.stringCall(String.valueOf(call)));
        client.close();
    }

    static void cancelled() throws Exception {
        var queue = queue("brief", Map.of());
        var told = new LinkedBlockingQueue<String>();
        var tag = channel.basicConsume(queue, true, (consumer, delivery) -> { }, told::add);
        connection.createChannel().queueDelete(queue);
        same(tag, told.poll(PATIENCE_SECONDS, TimeUnit.SECONDS));
    }

    static void mistakes() throws Exception {
        var queue = queue("strict", Map.of());
        interface Mistake { void make(Channel channel) throws Exception; }
        var mistakes = new LinkedHashMap<Integer, Mistake>();
        mistakes.put(AMQP.PRECONDITION_FAILED, other -> other.queueDeclare(queue, false, false, false, null));
        mistakes.put(AMQP.NOT_FOUND, other -> other.queueDeclarePassive(STEM + "missing"));
        mistakes.put(AMQP.ACCESS_REFUSED, other -> other.exchangeDeclare("amq.mine", "direct"));
        for (var mistake : mistakes.entrySet()) {
            var other = connection.createChannel();
            var code = 0;
            try {
                mistake.getValue().make(other);
            } catch (IOException closed) {
                var signal = (ShutdownSignalException) closed.getCause();
                same(false, signal.isHardError());
                code = ((AMQP.Channel.Close) signal.getReason()).getReplyCode();
            }
            same(mistake.getKey(), code);
        }
        channel.queueDeclarePassive(queue);
        channel.queueDelete(queue);
    }

    static void connectionError() throws Exception {
        var closed = new CompletableFuture<ShutdownSignalException>();
        connection.addShutdownListener(closed::complete);
        try {
            channel.exchangeDeclare(STEM + "x", "carrier-pigeon");
        } catch (IOException expected) {
            // The listener has the reason.
        }
        var signal = closed.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
        same(true, signal.isHardError());
        same(AMQP.COMMAND_INVALID, ((AMQP.Connection.Close) signal.getReason()).getReplyCode());
    }

    static void recovery() throws Exception {
        var recovering = new ConnectionFactory();
        recovering.setHost(factory.getHost());
        recovering.setPort(factory.getPort());
        recovering.setNetworkRecoveryInterval(100);
        // The socket is cut once, from our side and without a word.
        var cut = new CompletableFuture<java.net.Socket>();
        recovering.setSocketConfigurator(socket -> cut.complete(socket));
        try (var own = (RecoverableConnection) recovering.newConnection("recovering")) {
            var lane = own.createChannel();
            var deliveries = new LinkedBlockingQueue<Delivery>();
            var queue = lane.queueDeclare().getQueue();
            lane.exchangeDeclare(STEM + "recovered", "fanout", false, true, null);
            lane.queueBind(queue, STEM + "recovered", "");
            lane.basicQos(5);
            lane.basicConsume(queue, true, (consumer, delivery) -> deliveries.add(delivery), consumer -> { });
            var recovered = new CountDownLatch(1);
            own.addRecoveryListener(new RecoveryListener() {
                public void handleRecovery(Recoverable it) { recovered.countDown(); }
                public void handleRecoveryStarted(Recoverable it) { }
            });
            cut.get().close();
            same(true, recovered.await(PATIENCE_SECONDS, TimeUnit.SECONDS));
            channel.basicPublish(STEM + "recovered", "", true, null, "back".getBytes());
            same("back", new String(receive(deliveries).getBody()));
        }
    }

    static String queue(String part, Map<String, Object> arguments) throws IOException {
        return channel.queueDeclare(STEM + part, true, false, false, arguments).getQueue();
    }

    static void publish(String queue, String body, AMQP.BasicProperties properties) throws IOException {
        channel.basicPublish("", queue, properties, body.getBytes(StandardCharsets.UTF_8));
    }

    /** The next message with basic.get, waiting for one to arrive. */
    static GetResponse take(String queue, boolean autoAck) throws Exception {
        var got = new GetResponse[1];
        eventually(() -> (got[0] = channel.basicGet(queue, autoAck)) != null);
        return got[0];
    }

    static Delivery receive(BlockingQueue<Delivery> deliveries) throws Exception {
        return Objects.requireNonNull(deliveries.poll(PATIENCE_SECONDS, TimeUnit.SECONDS), "nothing was delivered");
    }

    static String body(GetResponse got) {
        return new String(got.getBody(), StandardCharsets.UTF_8);
    }

    static void eventually(Callable<Boolean> condition) throws Exception {
        for (var tries = 0; !condition.call(); tries++) {
            if (tries > 100 * PATIENCE_SECONDS) throw new AssertionError("it does not happen");
            Thread.sleep(10);
        }
    }

    static void same(Object wanted, Object got) {
        if (!Objects.equals(wanted, got)) throw new AssertionError(got + " is not " + wanted);
    }
}
