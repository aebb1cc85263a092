/**
 * Where datagrams of one frame each come to or go to, read from `--indev` and `--outdev`: QEMU's `-netdev dgram`.
 *
 *     dgram:HOST:PORT   dgram:unix:PATH
 *
 * `--indev` is bound there, `--outdev` sends there. With a host, what QEMU calls the other end may be told as well:
 * `--indev ...,remote=HOST:PORT` takes frames from there alone, `--outdev ...,local=HOST:PORT` sends from there.
 */

import type { TapferryError } from '../errors.ts'
import { splitAtCommas } from '../qemu/keyval.ts'
import {
  formatHostPort,
  type HostPort,
  type Invalid,
  invalidAddress,
  parseHostPort,
  parsePath,
  type UnixAddress,
} from './address.ts'

export type DatagramPlace = UnixAddress | ({ readonly kind: 'udp' } & HostPort)

/** Both ends of the way of a frame. */
export interface DatagramAddress {
  readonly kind: 'dgram'
  readonly to: DatagramPlace
  /** Of UDP: where an outdev is bound, and whom alone an indev hears. */
  readonly from: HostPort | undefined
}

export const DATAGRAMS = 'dgram:'

const EXAMPLE = 'for example: dgram:192.0.2.1:4000 or dgram:unix:/run/frames.sock'

/** The end that the address itself does not name, in QEMU's words. */
const otherEnd = (flag: string): 'local' | 'remote' => (flag === '--indev' ? 'remote' : 'local')

/** Throws STREAM_ADDRESS_INVALID. */
export function parseDatagramAddress(text: string, flag: string): DatagramAddress {
  const invalid = invalidAddress(text, flag, EXAMPLE)
  if (text.includes('\0')) throw invalid('holds a zero byte')
  const [where = '', ...options] = splitAtCommas(text)
  const to = parsePlace(where.slice(DATAGRAMS.length), invalid)
  const [option, ...more] = options
  if (more.length > 0) throw invalid(`says more than one thing behind the address: ${more.join(', ')}`)
  const from = option === undefined ? undefined : parseFrom(option, to, flag, invalid)
  for (const host of [to, from].flatMap(place =>
    place === undefined || !('host' in place) ? [] : place.host,
  )) {
    if (isMulticast(host)) {
      throw invalid(
        `names a multicast group, ${host}, which would bring back what is sent there`,
        'give each VM an address of its own: local and remote of its -netdev dgram',
      )
    }
  }
  if (flag !== '--indev' && to.kind === 'udp' && to.host === '') {
    throw invalid('names no host to send to', `for this host write dgram:localhost:${to.port}`)
  }
  return { kind: 'dgram', to, from }
}

/** As people write it, without options. */
export function formatDatagramAddress({ to }: Pick<DatagramAddress, 'to'>): string {
  return to.kind === 'unix' ? `${DATAGRAMS}unix:${to.path}` : `${DATAGRAMS}${formatHostPort(to)}`
}

function parsePlace(text: string, invalid: Invalid): DatagramPlace {
  if (text.startsWith('unix:')) return parsePath(text.slice('unix:'.length), invalid)
  return { kind: 'udp', ...parseHostPort(text, DATAGRAMS, invalid) }
}

function parseFrom(option: string, to: DatagramPlace, flag: string, invalid: Invalid): HostPort {
  const [, name = option, value = ''] = /^([^=]*)=(.*)$/s.exec(option) ?? []
  const expected = otherEnd(flag)
  if (name !== expected) throw wrongOption(name, expected, invalid)
  if (to.kind === 'unix') {
    throw invalid(
      `says ${name}, and a unix socket has no use for it`,
      'leave it out: who may write to the path is said by its mode',
    )
  }
  return parseHostPort(value, `${name}=`, invalid)
}

function wrongOption(name: string, expected: 'local' | 'remote', invalid: Invalid): TapferryError {
  if (name === 'local' || name === 'remote') {
    return invalid(
      `says ${name}, and that is the address itself`,
      expected === 'remote'
        ? 'write --indev dgram:LOCAL, and ,remote=HOST:PORT behind it to hear nobody else'
        : 'write --outdev dgram:REMOTE, and ,local=HOST:PORT behind it to send from there',
    )
  }
  if (name.startsWith('vnet')) {
    return invalid(
      `has the option '${name}'`,
      'leave it out: a datagram is a frame, without a virtio-net header',
    )
  }
  return invalid(
    `has no option '${name}'`,
    `the one there is, is ${expected}=HOST:PORT; a comma of the path is written twice`,
  )
}

/** 224.0.0.0/4 (RFC 5771) and ff00::/8 (RFC 4291). */
function isMulticast(host: string): boolean {
  const first = /^(\d+)\.\d+\.\d+\.\d+$/.exec(host)?.[1]
  return first === undefined ? /^ff[0-9a-f]{2}:/i.test(host) : Number(first) >= 224 && Number(first) < 240
}
