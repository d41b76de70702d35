// A round through what a service does with a broker, with amqp091-go: `go run . amqp://…`. Ends with status 0 and the
// number of stories told, or with the story that failed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 10 * time.Second

type world struct {
	url        string
	connection *amqp.Connection
	channel    *amqp.Channel
}

var stories = []struct {
	name string
	tell func(*world)
}{
	{"many publishes in flight are confirmed one by one and arrive in order", confirms},
	{"a consumer holds no more than its prefetch, and one ack settles many", prefetch},
	{"what is given back comes again, marked and in its place", requeue},
	{"what is rejected becomes a dead letter with its story", deadLetters},
	{"a full queue refuses", overflow},
	{"what nobody wants comes back", returns},
	{"a transaction is all or nothing", transactions},
	{"every kind of header and property arrives as it was", headers},
	{"exchanges bind to exchanges", exchanges},
	{"a request is answered over direct reply-to", replyTo},
	{"a consumer is told when its queue goes", cancelled},
	{"a mistake closes its channel with the reason, and no other", mistakes},
	{"purge and delete say how many", counts},
}

func main() {
	for _, story := range stories {
		told := make(chan struct{})
		go func() {
			select {
			case <-told:
			case <-time.After(3 * patience):
				fail(story.name, "takes too long")
			}
		}()
		func() {
			defer func() {
				if problem := recover(); problem != nil {
					fail(story.name, problem)
				}
			}()
			w := connect(os.Args[1])
			story.tell(w)
			must(w.connection.Close())
		}()
		close(told)
	}
	fmt.Printf("%d stories told\n", len(stories))
}

func confirms(w *world) {
	queue := w.queue("confirms", nil)
	must(w.channel.Confirm(false))
	var confirmations []*amqp.DeferredConfirmation
	for n := range 500 {
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, n)}
		confirmation, err := w.channel.PublishWithDeferredConfirm("", queue, true, false, message)
		must(err)
		confirmations = append(confirmations, confirmation)
	}
	limit, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	for _, confirmation := range confirmations {
		acked, err := confirmation.WaitContext(limit)
		must(err)
		check(acked, "a nack")
	}
	for n := range 500 {
		same(w.take(queue, true).Body, fmt.Append(nil, n))
	}
	w.delete(queue)
}

func prefetch(w *world) {
	queue := w.queue("prefetch", nil)
	must(w.channel.Qos(10, 0, false))
	deliveries, err := w.channel.Consume(queue, "taker", false, false, false, false, nil)
	must(err)
	for n := range 25 {
		w.publish(queue, fmt.Sprint(n))
	}
	for n := 0; n < 20; n += 10 {
		var last amqp.Delivery
		for offset := range 10 {
			last = receive(deliveries)
			same(string(last.Body), fmt.Sprint(n+offset))
		}
		select {
		case more := <-deliveries:
			panic(fmt.Sprintf("%s is beyond the prefetch", more.Body))
		case <-time.After(50 * time.Millisecond):
		}
		must(last.Ack(true))
	}
	must(w.channel.Cancel("taker", false))
	for range deliveries {
	}
	must(w.channel.Recover(true))
	for n := 20; n < 25; n++ {
		again := w.take(queue, true)
		same(string(again.Body), fmt.Sprint(n))
		check(again.Redelivered, "not marked")
	}
	w.delete(queue)
}

func requeue(w *world) {
	queue := w.queue("requeue", nil)
	w.publish(queue, "a")
	w.publish(queue, "b")
	first := w.take(queue, false)
	check(!first.Redelivered, "marked though it is new")
	must(first.Nack(false, true))
	again := w.take(queue, false)
	same(string(again.Body), "a")
	check(again.Redelivered, "not marked")
	same(again.MessageCount, uint32(1))
	w.delete(queue)
}

func deadLetters(w *world) {
	dead := w.queue("dead", nil)
	work := w.queue("work", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	w.publish(work, "order")
	must(w.take(work, false).Reject(false))
	letter := w.take(dead, true)
	same(string(letter.Body), "order")
	death := letter.Headers["x-death"].([]interface{})[0].(amqp.Table)
	same(death["queue"], work)
	same(death["reason"], "rejected")
	same(death["count"], int64(1))
	check(time.Since(death["time"].(time.Time)) < time.Minute, "died long ago")
	w.delete(work, dead)
}

func overflow(w *world) {
	queue := w.queue("full", amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	must(w.channel.Confirm(false))
	for n, taken := range []bool{true, false} {
		confirmation, err := w.channel.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{Body: fmt.Append(nil, n)})
		must(err)
		same(confirmation.Wait(), taken)
	}
	w.delete(queue)
}

func returns(w *world) {
	returned := w.channel.NotifyReturn(make(chan amqp.Return, 1))
	must(w.channel.Publish("", "nowhere", true, false, amqp.Publishing{Body: []byte("lost"), MessageId: "m-1"}))
	select {
	case message := <-returned:
		same(string(message.Body)+message.MessageId+message.ReplyText, "lostm-1NO_ROUTE")
		same(message.ReplyCode, uint16(312))
	case <-time.After(patience):
		panic("nothing came back")
	}
}

func transactions(w *world) {
	queue := w.queue("tx", nil)
	other, err := w.connection.Channel()
	must(err)
	must(w.channel.Tx())
	w.publish(queue, "rolled back")
	must(w.channel.TxRollback())
	w.publish(queue, "committed")
	_, there, err := other.Get(queue, true)
	must(err)
	check(!there, "there before the commit")
	must(w.channel.TxCommit())
	message, there, err := other.Get(queue, true)
	must(err)
	check(there && string(message.Body) == "committed", "not there after the commit")
	w.delete(queue)
}

func headers(w *world) {
	queue := w.queue("headers", nil)
	sent := amqp.Publishing{
		Headers: amqp.Table{
			"text": "ñandú", "yes": true, "byte": byte(255), "int8": int8(-1), "int16": int16(-300), "int32": int32(-70000),
			"int64": int64(1) << 60, "float": float32(0.5), "double": 0.1, "bytes": []byte{0, 255}, "nothing": nil,
			"decimal": amqp.Decimal{Scale: 2, Value: 314}, "when": time.Unix(1_700_000_000, 0),
			"list":  []interface{}{int32(1), "two", amqp.Table{"three": int32(3)}},
			"table": amqp.Table{"deep": amqp.Table{"deeper": amqp.Table{}}},
		},
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Priority: 3,
		CorrelationId: "c", ReplyTo: "r", Expiration: "60000", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0),
		Type: "t", UserId: "guest", AppId: "a", Body: bytes.Repeat([]byte("cauce "), 500_000),
	}
	must(w.channel.Publish("", queue, false, false, sent))
	got := w.take(queue, true)
	for name, value := range sent.Headers {
		same(got.Headers[name], value)
	}
	same(len(got.Headers), len(sent.Headers))
	published, delivered := reflect.ValueOf(sent), reflect.ValueOf(got)
	for n := range published.NumField() {
		if name := published.Type().Field(n).Name; name != "Headers" {
			same(delivered.FieldByName(name).Interface(), published.Field(n).Interface())
		}
	}
	w.delete(queue)
}

func exchanges(w *world) {
	queue := w.queue("bound", nil)
	for _, kind := range []string{"direct", "fanout", "topic", "headers"} {
		front, back := "go.front."+kind, "go.back."+kind
		must(w.channel.ExchangeDeclare(front, "fanout", false, false, false, false, nil))
		must(w.channel.ExchangeDeclare(back, kind, false, false, true, false, nil))
		must(w.channel.ExchangeBind(back, "", front, false, nil))
		must(w.channel.QueueBind(queue, "a.b", back, false, amqp.Table{"x-match": "all", "h": int32(1)}))
		must(w.channel.Publish(front, "a.b", false, false, amqp.Publishing{Headers: amqp.Table{"h": int32(1)}, Body: []byte(kind)}))
		same(string(w.take(queue, true).Body), kind)
		must(w.channel.QueueUnbind(queue, "a.b", back, amqp.Table{"x-match": "all", "h": int32(1)}))
		must(w.channel.ExchangeUnbind(back, "", front, false, nil))
		must(w.channel.ExchangeDelete(front, true, false))
		must(w.channel.ExchangeDelete(back, true, false))
	}
	w.delete(queue)
}

func replyTo(w *world) {
	queue := w.queue("requests", nil)
	requests, err := w.channel.Consume(queue, "", true, false, false, false, nil)
	must(err)
	replies, err := w.channel.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	must(err)
	request := amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "7", Body: []byte("hola")}
	must(w.channel.Publish("", queue, true, false, request))
	heard := receive(requests)
	answer := amqp.Publishing{CorrelationId: heard.CorrelationId, Body: append(heard.Body, '!')}
	must(w.channel.Publish("", heard.ReplyTo, true, false, answer))
	reply := receive(replies)
	same(string(reply.Body)+reply.CorrelationId, "hola!7")
	w.delete(queue)
}

func cancelled(w *world) {
	queue := w.queue("brief", nil)
	told := w.channel.NotifyCancel(make(chan string, 1))
	deliveries, err := w.channel.Consume(queue, "listener", false, true, false, false, nil)
	must(err)
	w.delete(queue)
	select {
	case tag := <-told:
		same(tag, "listener")
	case <-time.After(patience):
		panic("nobody said that the queue is gone")
	}
	_, more := <-deliveries
	check(!more, "a delivery from nowhere")
}

func mistakes(w *world) {
	queue := w.queue("strict", nil)
	for code, mistake := range map[int]func(*amqp.Channel) error{
		amqp.PreconditionFailed: func(channel *amqp.Channel) error {
			_, err := channel.QueueDeclare(queue, false, false, false, false, nil)
			return err
		},
		amqp.NotFound: func(channel *amqp.Channel) error {
			_, err := channel.QueueDeclarePassive("go.missing", false, false, false, false, nil)
			return err
		},
		amqp.AccessRefused: func(channel *amqp.Channel) error {
			return channel.ExchangeDeclare("amq.mine", "direct", true, false, false, false, nil)
		},
		amqp.ResourceLocked: func(channel *amqp.Channel) error {
			own, err := w.channel.QueueDeclare("", false, false, true, false, nil)
			must(err)
			stranger := connect(w.url)
			defer stranger.connection.Close()
			_, err = stranger.channel.QueueDeclarePassive(own.Name, false, false, true, false, nil)
			return err
		},
	} {
		channel, err := w.connection.Channel()
		must(err)
		reason, ok := mistake(channel).(*amqp.Error)
		check(ok && reason.Code == code && reason.Server, fmt.Sprintf("%v is not %d", reason, code))
	}
	same(w.count(queue), 0)
	w.delete(queue)
}

func counts(w *world) {
	queue := w.queue("counted", nil)
	for range 5 {
		w.publish(queue, "x")
	}
	purged, err := w.channel.QueuePurge(queue, false)
	must(err)
	same(purged, 5)
	w.publish(queue, "x")
	deleted, err := w.channel.QueueDelete(queue, false, false, false)
	must(err)
	same(deleted, 1)
}

func connect(url string) *world {
	connection, err := amqp.Dial(url)
	must(err)
	channel, err := connection.Channel()
	must(err)
	return &world{url, connection, channel}
}

// A durable queue that nobody else uses.
func (w *world) queue(part string, arguments amqp.Table) string {
	name := fmt.Sprintf("go.%d.%s", os.Getpid(), part)
	_, err := w.channel.QueueDeclare(name, true, false, false, false, arguments)
	must(err)
	return name
}

func (w *world) delete(queues ...string) {
	for _, queue := range queues {
		_, err := w.channel.QueueDelete(queue, false, false, false)
		must(err)
	}
}

func (w *world) publish(queue, body string) {
	must(w.channel.Publish("", queue, false, false, amqp.Publishing{Body: []byte(body)}))
}

func (w *world) count(queue string) int {
	found, err := w.channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	must(err)
	return found.Messages
}

// The next message with basic.get, waiting for one to arrive.
func (w *world) take(queue string, autoAck bool) amqp.Delivery {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		message, there, err := w.channel.Get(queue, autoAck)
		must(err)
		if there {
			return message
		}
	}
	panic("nothing arrived in " + queue)
}

func receive(deliveries <-chan amqp.Delivery) amqp.Delivery {
	select {
	case delivery, open := <-deliveries:
		check(open, "the consumer ended")
		return delivery
	case <-time.After(patience):
		panic("nothing was delivered")
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(true bool, otherwise string) {
	if !true {
		panic(otherwise)
	}
}

func same(got, wanted any) {
	if !reflect.DeepEqual(got, wanted) {
		panic(fmt.Sprintf("%v (%T) is not %v (%T)", got, got, wanted, wanted))
	}
}

func fail(story string, problem any) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", story, problem)
	os.Exit(1)
}
