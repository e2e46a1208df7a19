/** Which addresses are for everybody. */
import { describe, expect, test } from '@jest/globals';
import { isPrivateAddress, lookupPublic, namesPrivateAddress, PrivateAddressError } from '../../../src/outbox/addresses.ts';

test.each([
  '127.0.0.1',
  '127.255.255.254',
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::ffff:10.0.0.1',
  '::ffff:8.8.8.8',
  '64:ff9b::a00:1',
  '2002:a00:1::1',
  '2001::1',
  'fc00::1',
  'fd12:3456::1',
  'fe80::1',
  'ff02::1',
])('%s is not', (address) => {
  expect(isPrivateAddress(address)).toBe(true);
});

test.each([
  '8.8.8.8',
  '172.15.255.255',
  '172.32.0.1',
  '100.63.255.255',
  '192.167.1.1',
  '2606:4700::1111',
  '2a00:1450::1',
  '2001:4860::8888',
])('%s is', (address) => {
  expect(isPrivateAddress(address)).toBe(false);
});

test.each(['http://127.0.0.1/', 'http://0x7f.1/', 'http://2130706433/', 'http://[::1]:8080/', 'https://[::ffff:127.0.0.1]/'])(
  '%s names a private address, however it is written',
  (url) => {
    expect(namesPrivateAddress(url)).toBe(true);
  },
);

test.each(['https://example.com/', 'https://localhost/', 'https://8.8.8.8/'])('%s names none', (url) => {
  expect(namesPrivateAddress(url)).toBe(false);
});

describe('a name that is looked up for a connection', () => {
  const resolve = (all: boolean) =>
    new Promise((done) => {
      lookupPublic('localhost', { all }, (error, address) => done(error ?? address));
    });

  test.each([true, false])('is refused when its address is private, all of them asked for: %s', async (all) => {
    expect(await resolve(all)).toBeInstanceOf(PrivateAddressError);
  });
});
