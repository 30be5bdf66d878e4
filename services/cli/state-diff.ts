/** Compares two states by their canonical lines: which records only one of them has, and which fields of the others differ. */

/** As they come in canonical states. */
const TABLES = ["meta", "counts", "drain", "endedDrain", "options", "follower", "item", "record", "leaseRequest"];
/** What a record is known by; the records of the other tables are alone in theirs. */
const IDS: Readonly<Record<string, readonly string[]>> = {
  endedDrain: ["drainId"],
  follower: ["name"],
  item: ["itemId"],
  record: ["itemId"],
  leaseRequest: ["principal", "requestId"],
};

type Fields = Readonly<Record<string, unknown>>;

export interface Difference {
  readonly table: string;
  /** Empty in a table with one record. */
  readonly id: string;
  readonly kind: "onlyLeft" | "onlyRight" | "both";
  readonly left?: Fields;
  readonly right?: Fields;
  /** Of a record that both have: what differs, nested fields by their path. */
  readonly fields?: readonly { readonly name: string; readonly left: unknown; readonly right: unknown }[];
}

interface Parsed {
  readonly table: string;
  readonly id: string;
  readonly fields: Fields;
}

/** Takes all lines of the left state, then all of the right one. Equal lines are never parsed. */
export class StateDiff {
  readonly #left = new Map<string, number>();
  readonly #onlyRight: string[] = [];
  #equalCount = 0;

  takeLeft(line: string): void {
    this.#left.set(line, (this.#left.get(line) ?? 0) + 1);
  }

  takeRight(line: string): void {
    const count = this.#left.get(line);
    if (count === undefined) {
      this.#onlyRight.push(line);
      return;
    }
    if (count === 1) this.#left.delete(line);
    else this.#left.set(line, count - 1);
    this.#equalCount += 1;
  }

  /** Lines that both have. */
  get equalCount(): number {
    return this.#equalCount;
  }

  /** In the order of canonical states: left first, then what only the right one has, table by table. */
  differences(): readonly Difference[] {
    const right = new Map<string, Parsed[]>();
    for (const parsed of this.#onlyRight.map(parse)) {
      const name = `${parsed.table} ${parsed.id}`;
      const known = right.get(name);
      if (known === undefined) right.set(name, [parsed]);
      else known.push(parsed);
    }
    const left = [...this.#left].flatMap(([line, count]) => new Array<Parsed>(count).fill(parse(line)));
    const found = left.flatMap((parsed) => differenceOf(parsed, right.get(`${parsed.table} ${parsed.id}`)?.shift()));
    for (const { table, id, fields } of [...right.values()].flat())
      found.push({ table, id, kind: "onlyRight", right: fields });
    return found.sort((one, other) => TABLES.indexOf(one.table) - TABLES.indexOf(other.table));
  }
}

function parse(line: string): Parsed {
  const space = line.indexOf(" ");
  const table = line.slice(0, space);
  const fields = JSON.parse(line.slice(space + 1)) as Fields;
  const id = (IDS[table] ?? []).map((name) => String(fields[name])).join(" ");
  return { table, id, fields };
}

function differenceOf({ table, id, fields: left }: Parsed, other: Parsed | undefined): readonly Difference[] {
  if (other === undefined) return [{ table, id, kind: "onlyLeft", left }];
  const right = other.fields;
  const [leftFlat, rightFlat] = [flat(left), flat(right)];
  const names = [...new Set([...leftFlat.keys(), ...rightFlat.keys()])];
  const fields = names
    .map((name) => ({ name, left: leftFlat.get(name), right: rightFlat.get(name) }))
    .filter((field) => JSON.stringify(field.left) !== JSON.stringify(field.right));
  // The same fields in another order are the same record.
  return fields.length === 0 ? [] : [{ table, id, kind: "both", left, right, fields }];
}

/** `{ lease: { token } }` -> `lease.token`. */
function flat(fields: Fields, prefix = "", found = new Map<string, unknown>()): Map<string, unknown> {
  for (const [name, value] of Object.entries(fields))
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      flat(value as Fields, `${prefix}${name}.`, found);
    else found.set(prefix + name, value);
  return found;
}
