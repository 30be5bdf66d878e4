/** Which addresses a sink may connect to: a URL in a configuration must not become a way into the network that the process stands in. */
import { lookup as dnsLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { OperatingError } from "../../../contracts/errors.ts";

const NOT_PUBLIC_4 = blocked("ipv4", [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"],
  ...["192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"],
  // Multicast and reserved. The single address is the metadata service of a cloud, although it looks public.
  ...["224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"],
]);
/** Of IPv6 only this is routed; within it are tunnels to IPv4, documentation, and what is reserved for protocols. */
const ROUTED_6 = blocked("ipv6", ["2000::/3"]);
const NOT_PUBLIC_6 = blocked("ipv6", ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]);
/** Addresses that hold one of IPv4 in their last 32 bits: mapped, and translated by a gateway. */
const HOLDS_4 = blocked("ipv6", ["::ffff:0:0/96", "64:ff9b::/96"]);

function blocked(family: "ipv4" | "ipv6", subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [address = "", bits = ""] = subnet.split("/");
    list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** Whether an IP address is one of the public internet: not loopback, private, link-local, of a metadata service, or reserved. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !NOT_PUBLIC_4.check(address, "ipv4");
  // One with a zone is of this link.
  if (family === 0 || address.includes("%")) return false;
  if (HOLDS_4.check(address, "ipv6")) return isPublicAddress(heldAddress(address));
  return ROUTED_6.check(address, "ipv6") && !NOT_PUBLIC_6.check(address, "ipv6");
}

/** The last 32 bits of an IPv6 address as one of IPv4. */
function heldAddress(address: string): string {
  const { hostname } = new URL(`http://[${address}]`);
  const [high = 0, low = 0] = hostname
    .slice(1, -1)
    .split(":")
    .slice(-2)
    .map((group) => Number.parseInt(group || "0", 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The host of a URL without the brackets of IPv6. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "");

export const notPublic = (where: string): string =>
  `${where} is no public address; if the host is your own, set allowPrivate`;

export function addressNotAllowed(host: string, address: string): OperatingError {
  const message = notPublic(host === address ? address : `${host} is ${address}, which`);
  return new OperatingError("address_not_allowed", message, { definite: true, details: { host, address } });
}

export type Resolve = (
  host: string,
  callback: (error: Error | null, addresses: readonly { readonly address: string; readonly family: number }[]) => void,
) => void;
const resolveByDns: Resolve = (host, callback) => dnsLookup(host, { all: true }, callback);

/**
 * A `lookup` for `net.connect`: what it answers is what is connected to, so a name that answers differently the next time helps nobody.
 * One address that is not public refuses the name: who mixes them means no good, or an own network.
 */
export function guardedLookup(allowPrivate: boolean, resolve: Resolve = resolveByDns): LookupFunction {
  return (host, options, callback) => {
    resolve(host, (error, addresses) => {
      const refused = allowPrivate ? undefined : addresses?.find(({ address }) => !isPublicAddress(address));
      const [first] = addresses ?? [];
      if (error !== null) callback(error, "", 0);
      else if (refused !== undefined) callback(addressNotAllowed(host, refused.address), "", 0);
      else if (first === undefined) callback(new Error(`${host} has no address`), "", 0);
      else if (options.all === true) callback(null, [...addresses]);
      else callback(null, first.address, first.family);
    });
  };
}
