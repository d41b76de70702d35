// Down the river with franz-go: `go build -o river . && ./river 127.0.0.1:9092`. Ends with status 0 and the number of
// stories told, or with the story that failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 30 * time.Second

var (
	servers string
	admin   *kadm.Client
	ctx     = context.Background()
)

var stories = []struct {
	name string
	tell func(topic string)
}{
	{"records of a key stay in order, and are committed by hand", chapter},
	{"keys, times and headers come back as they were", records},
	{"each group reads everything", twoGroups},
	{"members share a topic, eagerly or not, and take over", rebalances},
	{"a consumer rewinds, and seeks by time", seeks},
	{"every compression comes back", compressions},
	{"a transaction is all or nothing to read_committed", transactions},
	{"what is read, made of it and committed is one transaction", readProcessWrite},
	{"a newer producer fences an older one", fencing},
	{"a compacted topic keeps the last record of each key", compaction},
	{"topics, settings, records and groups are administered", administration},
}

func main() {
	servers = os.Args[1]
	admin = kadm.NewClient(client())
	for number, story := range stories {
		func() {
			defer func() {
				if problem := recover(); problem != nil {
					fmt.Fprintf(os.Stderr, "%s: %v\n", story.name, problem)
					os.Exit(1)
				}
			}()
			story.tell(fmt.Sprintf("go.%d.%d", os.Getpid(), number))
		}()
	}
	fmt.Printf("%d stories told\n", len(stories))
}

func chapter(topic string) {
	create(topic, 3, nil)
	sent := numbered(topic, 300)
	for n, record := range sent {
		record.Key = fmt.Appendf(nil, "order-%d", n%7)
	}
	produce(sent)
	places, values := map[string]map[int32]bool{}, map[string][]string{}
	// Three lives of one service, each going on where the last one committed.
	for taken := 0; taken < 300; {
		consumer := client(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic), kgo.DisableAutoCommit())
		read := take(consumer, 100)
		for _, record := range read {
			key := string(record.Key)
			if places[key] == nil {
				places[key] = map[int32]bool{}
			}
			places[key][record.Partition] = true
			values[key] = append(values[key], string(record.Value))
		}
		check(consumer.CommitRecords(ctx, read...))
		consumer.Close()
		taken += len(read)
	}
	for n := range 7 {
		key := fmt.Sprintf("order-%d", n)
		var expected []string
		for value := n; value < 300; value += 7 {
			expected = append(expected, fmt.Sprint(value))
		}
		same(expected, values[key])
		same(1, len(places[key]))
	}
}

func records(topic string) {
	create(topic, 1, eternal)
	when := time.UnixMilli(1_600_000_000_123)
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "none"}}
	produce([]*kgo.Record{
		{Topic: topic, Key: []byte{}, Value: []byte("ñandú"), Timestamp: when, Headers: headers},
		{Topic: topic},
	})
	read := readAll(topic, 2)
	same([]byte{}, read[0].Key)
	same("ñandú", string(read[0].Value))
	same(when, read[0].Timestamp)
	same(headers, read[0].Headers)
	same(true, read[1].Key == nil && read[1].Value == nil)
}

func twoGroups(topic string) {
	create(topic, 2, nil)
	produce(numbered(topic, 100))
	for _, group := range []string{"billing", "shipping"} {
		consumer := client(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic+group))
		same(100, len(take(consumer, 100)))
		consumer.Close()
	}
}

func rebalances(topic string) {
	create(topic, 4, nil)
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		group := topic + balancer.ProtocolName()
		member := func() *kgo.Client {
			return client(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.Balancers(balancer),
				kgo.HeartbeatInterval(100*time.Millisecond))
		}
		first := member()
		shared(group, 4)
		second := member()
		shared(group, 2, 2)
		first.Close()
		shared(group, 4)
		second.Close()
	}
}

func seeks(topic string) {
	create(topic, 1, eternal)
	sent := numbered(topic, 50)
	for n, record := range sent {
		record.Timestamp = time.UnixMilli(1_600_000_000_000 + int64(n)*10)
	}
	produce(sent)
	consumer := client(kgo.ConsumeTopics(topic))
	defer consumer.Close()
	same(50, len(take(consumer, 50)))
	for _, offset := range []int64{0, 42} {
		consumer.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: offset}}})
		same(fmt.Sprint(offset), string(take(consumer, 1)[0].Value))
	}
	found, problem := admin.ListOffsetsAfterMilli(ctx, 1_600_000_000_201, topic)
	check(problem)
	offset, _ := found.Lookup(topic, 0)
	same(int64(21), offset.Offset)
	later := client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(1_600_000_000_201)))
	defer later.Close()
	same("21", string(take(later, 1)[0].Value))
}

func compressions(topic string) {
	create(topic, 1, nil)
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression()}
	for _, codec := range codecs {
		produce(numbered(topic, 200), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))
	}
	read := readAll(topic, 200*len(codecs))
	for n, record := range read {
		same(fmt.Sprint(n%200), string(record.Value))
		same(int64(n), record.Offset)
	}
}

func transactions(topic string) {
	create(topic, 1, nil)
	producer := client(kgo.TransactionalID(topic))
	defer producer.Close()
	for _, outcome := range []string{"aborted", "kept", "aborted", "kept"} {
		check(producer.BeginTransaction())
		for range 10 {
			record := &kgo.Record{Topic: topic, Value: []byte(outcome)}
			check(producer.ProduceSync(ctx, record).FirstErr())
		}
		check(producer.EndTransaction(ctx, kgo.TransactionEndTry(outcome == "kept")))
	}
	for _, record := range readAll(topic, 20, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		same("kept", string(record.Value))
	}
	same(40, len(readAll(topic, 40)))
	// What is open keeps later records from readers of what is committed.
	check(producer.BeginTransaction())
	check(producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("open")}).FirstErr())
	produce(numbered(topic, 1))
	stable, problem := admin.ListCommittedOffsets(ctx, topic)
	check(problem)
	latest, problem := admin.ListEndOffsets(ctx, topic)
	check(problem)
	same(int64(2), latest[topic][0].Offset-stable[topic][0].Offset)
	check(producer.EndTransaction(ctx, kgo.TryCommit))
	same(22, len(readAll(topic, 22, kgo.FetchIsolationLevel(kgo.ReadCommitted()))))
}

func readProcessWrite(topic string) {
	results := topic + ".results"
	create(topic, 1, nil)
	create(results, 1, nil)
	produce(numbered(topic, 30))
	// The first attempt dies after half of its work.
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		session, problem := kgo.NewGroupTransactSession(kgo.SeedBrokers(servers), kgo.ConsumeTopics(topic),
			kgo.ConsumerGroup(results), kgo.TransactionalID(results), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.RequireStableFetchOffsets(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		check(problem)
		read := take(session.Client(), 30)
		check(session.Begin())
		for _, record := range read {
			made := &kgo.Record{Topic: results, Value: append(record.Value, '!')}
			check(session.ProduceSync(ctx, made).FirstErr())
		}
		committed, problem := session.End(ctx, end)
		check(problem)
		same(end == kgo.TryCommit, committed)
		session.Close()
	}
	for n, record := range readAll(results, 30, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		same(fmt.Sprintf("%d!", n), string(record.Value))
	}
	eventually(func() bool {
		offsets, problem := admin.FetchOffsets(ctx, results)
		offset, found := offsets.Lookup(topic, 0)
		return problem == nil && found && offset.At == 30
	})
}

func fencing(topic string) {
	create(topic, 1, nil)
	older := client(kgo.TransactionalID(topic))
	check(older.BeginTransaction())
	check(older.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("older")}).FirstErr())
	newer := client(kgo.TransactionalID(topic))
	defer newer.Close()
	check(newer.BeginTransaction())
	check(newer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("newer")}).FirstErr())
	problem := older.EndTransaction(ctx, kgo.TryCommit)
	same(true, errors.Is(problem, kerr.InvalidProducerEpoch) || errors.Is(problem, kerr.ProducerFenced))
	older.Close()
	check(newer.EndTransaction(ctx, kgo.TryCommit))
	same("newer", string(readAll(topic, 1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0].Value))
}

func compaction(topic string) {
	create(topic, 1, map[string]string{"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"})
	sent := numbered(topic, 50)
	for n, record := range sent {
		record.Key = fmt.Appendf(nil, "k%d", n%5)
	}
	produce(sent)
	time.Sleep(300 * time.Millisecond)
	// Starts a new segment: only those behind it are compacted.
	produce([]*kgo.Record{{Topic: topic, Key: []byte("last"), Value: []byte("")}})
	eventually(func() bool {
		var offsets []int64
		for _, record := range readAll(topic, 6) {
			offsets = append(offsets, record.Offset)
		}
		return reflect.DeepEqual(offsets, []int64{45, 46, 47, 48, 49, 50})
	})
}

func administration(topic string) {
	minute, longer := "60000", "70000"
	create(topic, 2, map[string]string{"retention.ms": minute})
	_, problem := admin.CreateTopic(ctx, 1, 1, nil, topic)
	same(true, errors.Is(problem, kerr.TopicAlreadyExists))
	_, problem = admin.CreateTopic(ctx, 1, 3, nil, topic+"2")
	same(true, errors.Is(problem, kerr.InvalidReplicationFactor))
	_, problem = admin.CreateTopic(ctx, 1, 1, map[string]*string{"retention.mss": &minute}, topic+"2")
	same(true, errors.Is(problem, kerr.InvalidConfig))
	grown, problem := admin.UpdatePartitions(ctx, 4, topic)
	check(problem)
	check(grown.Error())
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &longer}}
	_, problem = admin.AlterTopicConfigs(ctx, change, topic)
	check(problem)
	configs, problem := admin.DescribeTopicConfigs(ctx, topic)
	check(problem)
	for _, config := range configs[0].Configs {
		if config.Key == "retention.ms" {
			same(longer, *config.Value)
		}
	}
	producer := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	for n := range 10 {
		record := &kgo.Record{Topic: topic, Partition: 3, Value: fmt.Append(nil, n)}
		check(producer.ProduceSync(ctx, record).FirstErr())
	}
	below := kadm.Offsets{}
	below.AddOffset(topic, 3, 4, -1)
	deleted, problem := admin.DeleteRecords(ctx, below)
	check(problem)
	check(deleted.Error())
	start, problem := admin.ListStartOffsets(ctx, topic)
	check(problem)
	same(int64(4), start[topic][3].Offset)
	group := topic + ".group"
	committing := kadm.Offsets{}
	committing.AddOffset(topic, 3, 7, -1)
	check(admin.CommitAllOffsets(ctx, group, committing))
	lags, problem := admin.Lag(ctx, group)
	check(problem)
	same(int64(3), lags[group].Lag[topic][3].Lag)
	_, problem = admin.DeleteGroup(ctx, group)
	check(problem)
	_, problem = admin.DeleteTopic(ctx, topic)
	check(problem)
	_, problem = admin.DeleteTopic(ctx, topic)
	same(true, errors.Is(problem, kerr.UnknownTopicOrPartition))
}

var endless = "-1"

// For records that say they are old.
var eternal = map[string]string{"retention.ms": endless}

func create(topic string, partitions int32, settings map[string]string) {
	configs := map[string]*string{}
	for name, value := range settings {
		configs[name] = &value
	}
	_, problem := admin.CreateTopic(ctx, partitions, 1, configs, topic)
	check(problem)
}

func client(options ...kgo.Opt) *kgo.Client {
	common := []kgo.Opt{kgo.SeedBrokers(servers), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	client, problem := kgo.NewClient(append(common, options...)...)
	check(problem)
	return client
}

func numbered(topic string, count int) []*kgo.Record {
	var made []*kgo.Record
	for n := range count {
		made = append(made, &kgo.Record{Topic: topic, Value: fmt.Append(nil, n)})
	}
	return made
}

func produce(made []*kgo.Record, options ...kgo.Opt) {
	producer := client(options...)
	defer producer.Close()
	check(producer.ProduceSync(ctx, made...).FirstErr())
}

// take waits for so many records, and leaves what comes behind them.
func take(consumer *kgo.Client, count int) []*kgo.Record {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var taken []*kgo.Record
	for len(taken) < count {
		fetches := consumer.PollRecords(waiting, count-len(taken))
		check(fetches.Err())
		taken = append(taken, fetches.Records()...)
	}
	return taken
}

func readAll(topic string, count int, options ...kgo.Opt) []*kgo.Record {
	consumer := client(append(options, kgo.ConsumeTopics(topic))...)
	defer consumer.Close()
	return take(consumer, count)
}

// shared waits until the members of a group have so many partitions each.
func shared(group string, shares ...int) {
	eventually(func() bool {
		described, problem := admin.DescribeGroups(ctx, group)
		check(problem)
		var seen []int
		for _, member := range described[group].Members {
			assignment, _ := member.Assigned.AsConsumer()
			count := 0
			if assignment != nil {
				for _, topic := range assignment.Topics {
					count += len(topic.Partitions)
				}
			}
			seen = append(seen, count)
		}
		sort.Ints(seen)
		return described[group].State == "Stable" && reflect.DeepEqual(shares, seen)
	})
}

func eventually(wanted func() bool) {
	for deadline := time.Now().Add(patience); !wanted(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic("waited in vain")
		}
	}
}

func check(problem error) {
	if problem != nil {
		panic(problem)
	}
}

func same(expected, seen any) {
	if !reflect.DeepEqual(expected, seen) {
		panic(fmt.Sprintf("expected %v, saw %v", expected, seen))
	}
}
