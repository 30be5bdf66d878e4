// Rebuilds the catalog of the demo lakehouse from the changefeed of a shard alone, and prints it as GET /demo/catalogs does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The newest version of the envelope that this program reads.
const schemaVersionMax = 1

// Event is what of an outward event is read here; unknown fields are left alone, as the envelope may grow.
type Event struct {
	SchemaVersion  int    `json:"schemaVersion"`
	SequenceNumber uint64 `json:"sequenceNumber"`
	EventType      string `json:"eventType"`
	ItemID         string `json:"itemId"`
	Payload        *struct {
		ResourceType    string `json:"resourceType"`
		PayloadEncoding string `json:"payloadEncoding"`
		Body            string `json:"body"`
	} `json:"resourceLeaseItemPayload"`
	Details struct {
		Outcome string   `json:"outcome"`
		ItemIDs []string `json:"itemIds"`
	} `json:"details"`
}

func main() {
	server := flag.String("server", nats.DefaultURL, "URL of the NATS server")
	region := flag.String("region", "local", "region of the shard")
	shard := flag.String("shard", "default", "shard whose changefeed is read")
	flag.Parse()
	if err := run(*server, *region, *shard); err != nil {
		fmt.Fprintln(os.Stderr, "governance:", err)
		os.Exit(1)
	}
}

func run(server, region, shard string) error {
	connection, err := nats.Connect(server, nats.Name("governance example"))
	if err != nil {
		return fmt.Errorf("no NATS server answers at %s: %w", server, err)
	}
	defer connection.Close()
	catalog, sequence, err := rebuild(connection, region, shard)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d tables as of sequence %d\n", len(catalog.tables), sequence)
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string]any{"tables": catalog.Tables()})
}

// rebuild reads the changefeed from its beginning to where it ends now. It also answers the sequence of the last event that it read.
func rebuild(connection *nats.Conn, region, shard string) (*Catalog, uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	js, err := jetstream.New(connection)
	if err != nil {
		return nil, 0, err
	}
	name := fmt.Sprintf("LEASE_CHANGES_%s_%s", region, shard)
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, 0, fmt.Errorf("stream %s: %w", name, err)
	}
	if first := stream.CachedInfo().State.FirstSeq; first > 1 {
		return nil, 0, fmt.Errorf("%s begins at %d: what was before has been removed, and a catalog cannot be rebuilt without it", name, first)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		FilterSubjects: subjects(region, shard),
	})
	if err != nil {
		return nil, 0, err
	}
	return fold(ctx, consumer, newCatalog(shard))
}

// subjects are those of the events that say what an item holds and how it ended: <eventType>.<resourceType token>.
func subjects(region, shard string) []string {
	types := []string{"Enqueue", "RestoreSnapshot", "Completed", "Cancelled", "Purged", "Discarded"}
	list := make([]string, len(types))
	for index, eventType := range types {
		list[index] = fmt.Sprintf("omnirelay.changes.%s.%s.%s.*", region, shard, eventType)
	}
	return list
}

func fold(ctx context.Context, consumer jetstream.Consumer, catalog *Catalog) (*Catalog, uint64, error) {
	var sequence uint64
	info, err := consumer.Info(ctx)
	if err != nil {
		return nil, 0, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, 0, err
	}
	defer messages.Stop()
	for pending := info.NumPending; pending > 0; {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, 0, err
		}
		metadata, err := message.Metadata()
		if err != nil {
			return nil, 0, err
		}
		pending = metadata.NumPending
		event, err := eventOf(message)
		if err != nil {
			return nil, 0, err
		}
		// Nil for what is no event; a sequence that was seen is a repeat.
		if event == nil || event.SequenceNumber <= sequence {
			continue
		}
		sequence = event.SequenceNumber
		if err := catalog.Take(event); err != nil {
			return nil, 0, fmt.Errorf("event %d: %w", sequence, err)
		}
	}
	return catalog, sequence, nil
}

func eventOf(message jetstream.Msg) (*Event, error) {
	if message.Headers().Get("Omnirelay-Sequence") == "" {
		return nil, nil
	}
	var event Event
	if err := json.Unmarshal(message.Data(), &event); err != nil {
		return nil, fmt.Errorf("a message on %s is no event: %w", message.Subject(), err)
	}
	if event.SchemaVersion > schemaVersionMax {
		return nil, fmt.Errorf("event %d has schemaVersion %d, and this program reads up to %d: update it",
			event.SequenceNumber, event.SchemaVersion, schemaVersionMax)
	}
	return &event, nil
}
