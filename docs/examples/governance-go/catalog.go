// The catalog of the demo lakehouse, folded from the items that were completed.
package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
)

// Mutation is the body of a demo item: what it does to a table.
type Mutation struct {
	Kind             string   `json:"kind"`
	Table            string   `json:"table"`
	Columns          []string `json:"columns"`
	PartitionColumns []string `json:"partitionColumns"`
	Add              []string `json:"add"`
	Drop             []string `json:"drop"`
	Files            int64    `json:"files"`
	Bytes            int64    `json:"bytes"`
	Keep             int      `json:"keep"`
}

// Table is a table as GET /demo/catalogs shows it.
type Table struct {
	Table            string   `json:"table"`
	Kind             string   `json:"kind"`
	Version          int64    `json:"version"`
	ActiveFiles      int64    `json:"activeFiles"`
	ActiveBytes      int64    `json:"activeBytes"`
	Columns          []string `json:"columns"`
	PartitionColumns []string `json:"partitionColumns"`
	MinReaderVersion *int     `json:"minReaderVersion"`
	Snapshots        int      `json:"snapshots"`
	Shard            string   `json:"shard"`
}

// Catalog holds the tables, and the bodies of items that have not ended yet.
type Catalog struct {
	shard  string
	tables map[string]*Table
	bodies map[string]string
}

func newCatalog(shard string) *Catalog {
	return &Catalog{shard: shard, tables: map[string]*Table{}, bodies: map[string]string{}}
}

// Take folds one event. An item has its effect when it is completed; until then only its body is remembered.
func (c *Catalog) Take(event *Event) error {
	if item := event.Payload; item != nil {
		if item.ResourceType != "lakehouse.table" {
			return nil
		}
		if item.PayloadEncoding == "application/vnd.omnirelay.reference+json" {
			return fmt.Errorf("item %s has a large body, which this example does not fetch", event.ItemID)
		}
		c.bodies[event.ItemID] = item.Body
		return nil
	}
	switch event.EventType {
	case "Completed":
		body, isKnown := c.bodies[event.ItemID]
		delete(c.bodies, event.ItemID)
		if isKnown {
			return c.apply(event.ItemID, body)
		}
	case "Cancelled":
		// Of a leased item it is only a wish: its holder may complete it all the same.
		if event.Details.Outcome == "ended" {
			delete(c.bodies, event.ItemID)
		}
	case "Purged":
		delete(c.bodies, event.ItemID)
	case "Discarded":
		for _, itemID := range event.Details.ItemIDs {
			delete(c.bodies, itemID)
		}
	}
	return nil
}

// Items of a table are completed one after the other and in order, so this is the order in which the worker applied them.
func (c *Catalog) apply(itemID, body string) error {
	var mutation Mutation
	if err := json.Unmarshal([]byte(body), &mutation); err != nil {
		return fmt.Errorf("the body of item %s is no mutation: %w", itemID, err)
	}
	table := c.tables[mutation.Table]
	if table == nil {
		table = &Table{Table: mutation.Table, Kind: "lakehouse", Shard: c.shard, Columns: []string{}, PartitionColumns: []string{}}
		c.tables[mutation.Table] = table
	}
	table.Version++
	switch mutation.Kind {
	case "CreateTable":
		table.Columns = append([]string{}, mutation.Columns...)
		table.PartitionColumns = append([]string{}, mutation.PartitionColumns...)
	case "AlterSchema":
		for _, column := range mutation.Add {
			if !slices.Contains(table.Columns, column) {
				table.Columns = append(table.Columns, column)
			}
		}
		table.Columns = slices.DeleteFunc(table.Columns, func(column string) bool { return slices.Contains(mutation.Drop, column) })
	case "CommitSnapshot":
		table.Snapshots++
		table.ActiveFiles += mutation.Files
		table.ActiveBytes += mutation.Bytes
	case "Vacuum":
		table.Snapshots = min(table.Snapshots, mutation.Keep)
	default:
		return fmt.Errorf("item %s has an unknown mutation %q", itemID, mutation.Kind)
	}
	return nil
}

// Tables lists the tables by name.
func (c *Catalog) Tables() []*Table {
	list := make([]*Table, 0, len(c.tables))
	for _, table := range c.tables {
		list = append(list, table)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].Table < list[b].Table })
	return list
}
