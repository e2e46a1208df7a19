/**
 * Which addresses an endpoint may have. One that is made by API must not reach into the network in which the
 * service runs, so the address is checked when the connection is made: a name may resolve to another one by
 * then.
 */
import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** https://www.iana.org/assignments/iana-ipv4-special-registry: what is not reachable from everywhere. */
const PRIVATE_V4 = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  PRIVATE_V4.addSubnet(network, prefix, 'ipv4');
}

/** Of IPv6 only this is reachable from everywhere (https://www.iana.org/assignments/ipv6-address-space) … */
const GLOBAL_V6 = new BlockList();
GLOBAL_V6.addSubnet('2000::', 3, 'ipv6');
/** … except what carries an IPv4 address (6to4, Teredo), which may be a private one, and examples. */
const NOT_GLOBAL_V6 = new BlockList();
NOT_GLOBAL_V6.addSubnet('2002::', 16, 'ipv6');
NOT_GLOBAL_V6.addSubnet('2001::', 23, 'ipv6');
NOT_GLOBAL_V6.addSubnet('2001:db8::', 32, 'ipv6');

/** Whether an IP address is private, loopback, link-local or of another kind that is not for everybody. */
export function isPrivateAddress(address: string): boolean {
  if (isIP(address) === 4) return PRIVATE_V4.check(address, 'ipv4');
  return !GLOBAL_V6.check(address, 'ipv6') || NOT_GLOBAL_V6.check(address, 'ipv6');
}

/** Whether the URL itself names a private address. A name is looked up when the connection is made. */
export function namesPrivateAddress(url: string): boolean {
  const host = hostOf(url);
  return isIP(host) !== 0 && isPrivateAddress(host);
}

/** Without the brackets of an IPv6 address. The URL parser has made `0x7f.1` an IPv4 address. */
function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
}

export class PrivateAddressError extends Error {
  override name = 'PrivateAddressError';
}

/** For a connection: looks a name up, and fails when one of its addresses is private. */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...(options as LookupOptions), all: true }, (error, found) => {
    const addresses = found as LookupAddress[];
    const refused = error ? undefined : addresses.find(({ address }) => isPrivateAddress(address));
    const failure = error ?? (refused && new PrivateAddressError(`${hostname} has the private address ${refused.address}`));
    const [first] = addresses ?? [];
    if (failure) callback(failure, '', 0);
    else if (options.all) callback(null, addresses);
    else callback(null, first?.address ?? '', first?.family ?? 0);
  });
};
