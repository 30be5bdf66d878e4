/** Answers each request with as many bytes as the reply to an enqueue has; a process of its own, as a dispatcher is. Arguments: url, subject. */
import { connect } from "@nats-io/transport-node";

const REPLY = new TextEncoder().encode(
  JSON.stringify({ results: [{ itemId: "0123456789abcdef0123456789abcdef", sequence: 123_456, duplicate: false }] }),
);
const [url = "", subject = ""] = process.argv.slice(2);
const connection = await connect({ servers: url, noAsyncTraces: true });
connection.subscribe(subject, { callback: (_error, message) => void message.respond(REPLY) });
