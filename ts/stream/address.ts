/**
 * Where a stream of frames comes from or goes to, read from `--indev` and `--outdev`, in QEMU's own words:
 *
 *     unix:PATH[,server]   tcp:HOST:PORT[,server]   fd:N
 *
 * and behind any of them ,vnet-hdr-support=on|off ,vnet-hdr-len=0|10|12|20, and ,tls-creds=DIR but for unix:
 *
 * A comma of the path is written twice, as in QEMU (qemu-option.c). Pure, but for the directory that a relative
 * path starts from.
 */

import { isIPv4 } from 'node:net'
import { resolve } from 'node:path'
import { TapferryError } from '../errors.ts'
import { didYouMean } from '../options/closest.ts'
import { doubleCommas, splitAtCommas } from '../qemu/keyval.ts'

export interface HostPort {
  readonly host: string
  readonly port: number
}

export interface UnixAddress {
  readonly kind: 'unix'
  readonly path: string
}

export type SocketAddress = UnixAddress | ({ readonly kind: 'tcp' } & HostPort)

export type StreamAddress =
  | SocketAddress
  /** A connected or listening socket that was handed over. */
  | { readonly kind: 'fd'; readonly fd: number }

/** An address with what is said behind it. */
export interface StreamEnd {
  readonly address: StreamAddress
  /** It listens, and its peers come to it. */
  readonly server: boolean
  /** Undefined where the address does not say. */
  readonly vnetHdrSupport: boolean | undefined
  /** Bytes of the virtio-net header, announced or not. */
  readonly vnetHdrLength: number | undefined
  /** The directory of credentials for TLS (QEMU's tls-creds-x509); undefined where the address does not say. */
  readonly tlsCreds: string | undefined
}

/** Bytes of `sun_path` (unix(7)) less its final zero. */
const MAX_PATH_BYTES = 107

/** 0, 1 and 2 are stdin, stdout and stderr. */
const FIRST_FREE_DESCRIPTOR = 3

const EXAMPLE = 'for example: unix:/run/frames.sock,server or tcp:192.0.2.1:4000'

/** None, legacy, virtio 1.0 or mergeable buffers, with hash (linux/virtio_net.h). */
export const VNET_HDR_LENGTHS = ['0', '10', '12', '20'] as const

const ON_OFF = ['on', 'off'] as const

/** What may stand behind an address, and its values; undefined: whatever names a directory. */
const OPTIONS: Readonly<Record<string, readonly string[] | undefined>> = {
  server: ON_OFF,
  'vnet-hdr-support': ON_OFF,
  'vnet-hdr-len': VNET_HDR_LENGTHS,
  'tls-creds': undefined,
}

/** Options of QEMU's chardevs, which people copy, that say what holds here anyway. */
const NEEDLESS_OPTIONS = ['wait', 'nowait', 'reconnect', 'reconnect-ms', 'nodelay']

/** Throws STREAM_ADDRESS_INVALID. */
export function parseStreamEnd(text: string, flag: string): StreamEnd {
  const invalid = invalidAddress(text, flag)
  if (text.includes('\0')) throw invalid('holds a zero byte')
  const [where = '', ...options] = splitAtCommas(text)
  const address = parseAddress(where, invalid, 'unix:, tcp:, fd: and dgram:')
  const given = parseOptions(options, invalid)
  const isOn = (name: string): boolean | undefined => (given.has(name) ? given.get(name) === 'on' : undefined)
  const server = isOn('server') ?? false
  const length = given.get('vnet-hdr-len')
  if (address.kind === 'fd' && server) {
    throw invalid(
      'makes a server of a descriptor',
      'leave out server: a socket that listens is one by itself',
    )
  }
  checkHost(address, server, invalid)
  const tlsCreds = given.get('tls-creds')
  if (tlsCreds !== undefined && address.kind === 'unix') {
    throw invalid(
      'wants TLS on a unix socket',
      'leave tls-creds out, as QEMU does: such a socket does not leave this host',
    )
  }
  return {
    address,
    server,
    vnetHdrSupport: isOn('vnet-hdr-support'),
    vnetHdrLength: length === undefined ? undefined : Number(length),
    // Of the directory that this process was started in, as with a path.
    tlsCreds: tlsCreds === undefined ? undefined : resolve(tlsCreds),
  }
}

/** An address alone, which is listened at or connected to. Throws STREAM_ADDRESS_INVALID. */
export function parseSocketAddress(text: string, flag: string, server: boolean): SocketAddress {
  const invalid = invalidAddress(text, flag, 'for example: unix:/run/handover.sock or tcp:192.0.2.1:4000')
  if (text.includes('\0')) throw invalid('holds a zero byte')
  const [where = '', ...options] = splitAtCommas(text)
  if (options.length > 0) {
    throw invalid(`has the option '${options[0]}'`, 'leave it out; a comma of the path is written twice')
  }
  const address = parseAddress(where, invalid, 'unix: and tcp:')
  if (address.kind === 'fd') throw invalid('is a descriptor')
  checkHost(address, server, invalid)
  return address
}

export function invalidAddress(text: string, flag: string, example: string = EXAMPLE): Invalid {
  return (why, hint = example) =>
    new TapferryError('STREAM_ADDRESS_INVALID', `${flag}: invalid address '${text}': it ${why}`, hint)
}

function checkHost(address: StreamAddress, server: boolean, invalid: Invalid): void {
  if (address.kind !== 'tcp' || address.host !== '' || server) return
  throw invalid('names no host to connect to', `for this host write tcp:localhost:${address.port}`)
}

/** As people write it, without options. */
export function formatStreamAddress(address: StreamAddress): string {
  switch (address.kind) {
    case 'unix':
      return `unix:${address.path}`
    case 'tcp':
      return `tcp:${formatHostPort(address)}`
    case 'fd':
      return `fd:${address.fd}`
  }
}

export function formatHostPort({ host, port }: HostPort): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** An end in full, as `--indev` and `--outdev` take it. */
export function formatStreamEnd({
  address,
  server,
  vnetHdrSupport,
  vnetHdrLength,
  tlsCreds,
}: StreamEnd): string {
  return [
    doubleCommas(formatStreamAddress(address)),
    ...(server ? ['server'] : []),
    ...(vnetHdrSupport === undefined ? [] : [`vnet-hdr-support=${vnetHdrSupport ? 'on' : 'off'}`]),
    ...(vnetHdrLength === undefined ? [] : [`vnet-hdr-len=${vnetHdrLength}`]),
    ...(tlsCreds === undefined ? [] : [`tls-creds=${doubleCommas(tlsCreds)}`]),
  ].join(',')
}

/** Whether only this host can reach a listener at this address; a name but `localhost` may lead anywhere. */
export function isLoopback(host: string): boolean {
  return (isIPv4(host) && host.startsWith('127.')) || host === '::1' || host.toLowerCase() === 'localhost'
}

export type Invalid = (why: string, hint?: string) => TapferryError

/** `kinds`: what it may start with, for people. */
function parseAddress(where: string, invalid: Invalid, kinds: string): StreamAddress {
  const [, kind = '', rest = ''] = /^(unix|tcp|fd):(.*)$/s.exec(where) ?? []
  switch (kind) {
    case 'unix':
      return parsePath(rest, invalid)
    case 'tcp':
      return { kind: 'tcp', ...parseHostPort(rest, 'tcp:', invalid) }
    case 'fd':
      return parseDescriptor(rest, invalid)
    default:
      throw invalid(
        `starts with none of ${kinds}`,
        where.includes('/') ? `for a socket's path write unix:${where}` : undefined,
      )
  }
}

export function parsePath(given: string, invalid: Invalid): UnixAddress {
  if (given === '') throw invalid('names no path')
  // Of the directory that this process was started in; the core knows none, and messages shall name the place.
  const path = resolve(given)
  const bytes = Buffer.byteLength(path)
  if (bytes > MAX_PATH_BYTES) {
    throw invalid(
      `is a path of ${bytes} bytes, and that of a unix socket has at most ${MAX_PATH_BYTES}`,
      'give it a shorter one, for example in /run or /tmp',
    )
  }
  return { kind: 'unix', path }
}

/** `prefix`: what stands before it, for people. */
export function parseHostPort(text: string, prefix: string, invalid: Invalid): HostPort {
  const parts = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:[\]]*)):(?<digits>[^:]*)$/.exec(text)?.groups
  if (parts === undefined) {
    throw invalid(
      `is no ${prefix}HOST:PORT`,
      `write ${prefix}localhost:4000, or ${prefix}[::1]:4000 for an IPv6 address`,
    )
  }
  const { v6, name = '', digits = '' } = parts
  const port = Number(digits)
  if (!/^\d{1,5}$/.test(digits) || port < 1 || port > 65_535) {
    throw invalid(
      'has no port between 1 and 65535',
      `write ${prefix}HOST:PORT, for example ${prefix}localhost:4000`,
    )
  }
  return { host: v6 ?? name, port }
}

function parseDescriptor(text: string, invalid: Invalid): StreamAddress {
  const fd = Number(text)
  if (!/^\d{1,9}$/.test(text) || fd < FIRST_FREE_DESCRIPTOR) {
    throw invalid(
      `names no descriptor of ${FIRST_FREE_DESCRIPTOR} or more`,
      'write fd:N, where N is a socket that tapferry inherits, for example fd:3',
    )
  }
  return { kind: 'fd', fd }
}

function parseOptions(options: readonly string[], invalid: Invalid): Map<string, string> {
  const values = new Map<string, string>()
  for (const option of options) {
    const [, name = option, value = 'on'] = /^([^=]*)=(.*)$/s.exec(option) ?? []
    if (!Object.hasOwn(OPTIONS, name)) throw unknownOption(name, invalid)
    if (values.has(name)) throw invalid(`says ${name} twice`, 'say it once')
    const allowed = OPTIONS[name]
    if (allowed === undefined && (!option.includes('=') || value === '')) {
      throw invalid(`says ${name} without a directory`, `write ${name}=DIR, that of QEMU's tls-creds-x509`)
    }
    if (allowed !== undefined && !allowed.includes(value)) {
      throw invalid(`says ${name}=${value}`, `write ${allowed.map(good => `${name}=${good}`).join(' or ')}`)
    }
    values.set(name, value)
  }
  return values
}

function unknownOption(name: string, invalid: Invalid): TapferryError {
  if (NEEDLESS_OPTIONS.includes(name)) {
    return invalid(
      `has the option '${name}'`,
      'leave it out: tapferry waits for nobody, takes whoever comes and connects again by itself',
    )
  }
  const names = Object.keys(OPTIONS)
  return invalid(
    `has no option '${name}'`,
    didYouMean(name.replaceAll('_', '-'), names) ??
      `options are ${names.join(', ')}; a comma of the path is written twice`,
  )
}
