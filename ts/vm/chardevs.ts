/**
 * The VM's chardevs that are sockets, as query-chardev tells them, and whether one of them is the other end of a
 * stream. Pure, but for the names that are looked up.
 *
 * Measured on QEMU 7.2; `filename` is a text for people, and what it says depends on the state:
 *
 *     disconnected:unix:PATH,server=on      unix:PATH,server=on
 *     disconnected:unix:PATH                unix:                       a connected client has lost its path
 *     disconnected:tcp:HOST:PORT,server=on  tcp:OWN:PORT,server=on <-> PEER:PORT
 *     disconnected:tcp:HOST:PORT            tcp:OWN:PORT <-> PEER:PORT
 */

import { lookup } from 'node:dns/promises'
import { sameFile } from '../host/files.ts'
import type { StreamAddress } from '../stream/address.ts'

/** An element of the answer to query-chardev. */
export interface ChardevInfo {
  readonly label: string
  readonly filename: string
  /** Whether whoever uses it in QEMU, a filter for example, listens to it. */
  readonly 'frontend-open': boolean
}

/** Where a socket chardev listens or connects to; QEMU has forgotten a client's path once it is connected. */
export interface SocketPlace {
  readonly server: boolean
  readonly address: StreamAddress | 'forgotten'
}

const UNIX = /^unix:(?<path>.*?)(?:,abstract=\w+)?(?:,tight=\w+)?(?<server>,server(?:=on)?)?$/s
const TCP = /^tcp:(?<own>.*?)(?<server>,server(?:=on)?)?(?: <-> (?<peer>.*))?$/s
const HOST_PORT = /^(?:\[(?<v6>.*)\]|(?<name>.*)):(?<port>\d+)$/

/** Undefined for what is no socket, or one that was handed over as a descriptor. */
export function placeOfChardev(filename: string): SocketPlace | undefined {
  const text = filename.replace(/^disconnected:/, '')
  const unix = UNIX.exec(text)?.groups
  if (unix !== undefined) {
    const { path = '', server } = unix
    return { server: server !== undefined, address: path === '' ? 'forgotten' : { kind: 'unix', path } }
  }
  const { own = '', server, peer } = TCP.exec(text)?.groups ?? {}
  // Of a connected client, what it has connected to.
  const { v6, name, port } = HOST_PORT.exec(server === undefined ? (peer ?? own) : own)?.groups ?? {}
  if (port === undefined) return undefined
  return {
    server: server !== undefined,
    address: { kind: 'tcp', host: v6 ?? name ?? '', port: Number(port) },
  }
}

/** Whether both mean one socket. `files`: what the VM's process reaches by a path; asked for where it matters. */
export async function sameSocket(
  ours: StreamAddress,
  theirs: StreamAddress,
  files: (path: string) => Promise<readonly string[]>,
): Promise<boolean> {
  if (ours.kind === 'unix' && theirs.kind === 'unix') {
    const { path } = ours
    if (path === theirs.path) return true
    const candidates = await files(theirs.path)
    return (await Promise.all(candidates.map(file => sameFile(path, file)))).includes(true)
  }
  if (ours.kind === 'tcp' && theirs.kind === 'tcp') {
    return ours.port === theirs.port && (await sameHost(ours.host, theirs.host))
  }
  return false
}

/** Listening on all addresses fits each of them. */
async function sameHost(a: string, b: string): Promise<boolean> {
  if (a === b || isAnyAddress(a) || isAnyAddress(b)) return true
  const [first, second] = await Promise.all([a, b].map(addressesOf))
  return first?.some(address => second?.includes(address)) ?? false
}

function isAnyAddress(host: string): boolean {
  return ['', '0.0.0.0', '::'].includes(host)
}

async function addressesOf(host: string): Promise<string[]> {
  const addresses = await lookup(host, { all: true }).catch(() => [])
  return addresses.map(({ address }) => address.replace(/^::ffff:(?=\d+\.)/, ''))
}
