/**
 * `-chardev` to the address of a stream, as `--indev` and `--outdev` take it. Pure.
 *
 * What the chardevs of QEMU 7.2 may be given was read in its manual (qemu-options.hx) and asked of the program.
 */

import { isIPv4, isIPv6 } from 'node:net'
import type { TapferryError } from '../errors.ts'
import { didYouMean } from '../options/closest.ts'
import { invalid, unsupported } from './failures.ts'
import { Given } from './given.ts'
import { doubleCommas } from './keyval.ts'
import { readOption } from './option.ts'

export interface Chardev {
  readonly id: string
  /** `chardev 'c0'` */
  readonly subject: string
  /** What it is as a stream. Throws QEMU_OPTION_UNSUPPORTED; of a chardev that nobody uses it is not asked. */
  stream(): ChardevStream
}

export interface ChardevStream {
  /** As `--indev` and `--outdev` take it, without what an object says of it. */
  readonly address: string
  readonly server: boolean
  /** A client that connects again, and in QEMU also starts without its peer. */
  readonly reconnects: boolean
  /** Id of an object. */
  readonly tlsCreds: string | undefined
}

/** What a socket may be given; `str` is the descriptor in QMP's chardev-add. */
const SOCKET = [
  ...['id', 'path', 'abstract', 'tight', 'host', 'port', 'to', 'ipv4', 'ipv6', 'fd', 'str'],
  ...['server', 'wait', 'reconnect', 'reconnect-ms', 'nodelay', 'delay', 'telnet', 'tn3270', 'websocket'],
  ...['tls-creds', 'tls-authz', 'mux', 'logfile', 'logappend'],
]

/** The other back ends, and what socat calls those that it can join with a socket. */
const OTHERS: Readonly<Record<string, string | undefined>> = {
  ...Object.fromEntries(
    [
      ...[
        'null',
        'msmouse',
        'vc',
        'ringbuf',
        'memory',
        'console',
        'braille',
        'parallel',
        'parport',
        'mux',
        'hub',
      ],
      ...['spicevmc', 'spiceport', 'qemu-vdagent', 'dbus', 'wctablet', 'testdev'],
    ].map(name => [name, undefined]),
  ),
  udp: 'UDP:HOST:PORT',
  file: 'CREATE:PATH',
  pipe: 'PIPE:PATH',
  serial: 'PATH,raw',
  tty: 'PATH,raw',
  pty: 'PTY,raw',
  stdio: 'STDIO',
}

/** Throws QEMU_OPTION_INVALID. */
export function parseChardev(text: string, flag: string): Chardev {
  const { id, properties } = readOption(text, 'backend', flag)
  const backend = properties.get('backend') ?? ''
  const subject = `chardev '${id}'`
  if (backend !== 'socket') {
    if (!Object.hasOwn(OTHERS, backend)) throw unknownBackend(subject, backend)
    return { id, subject, stream: () => refuseBackend(subject, backend) }
  }
  const rest = new Map([...properties].filter(([name]) => name !== 'backend'))
  const given = new Given(subject, rest, SOCKET)
  // chardev-add makes a server unless told otherwise, -chardev a client.
  const server = given.bool('server') ?? text.startsWith('{')
  checkPlace(given)
  return { id, subject, stream: () => socketStream(given, server) }
}

function unknownBackend(subject: string, backend: string): TapferryError {
  return invalid(
    subject,
    `'${backend}' is not a valid char driver name`,
    didYouMean(backend, ['socket', ...Object.keys(OTHERS)]) ?? 'frames travel over a socket: socket,id=...',
  )
}

function refuseBackend(subject: string, backend: string): never {
  const socat = OTHERS[backend]
  throw unsupported(
    subject,
    `back end '${backend}' is no socket, and frames travel over sockets only`,
    socat === undefined
      ? 'write socket,id=ID,path=PATH,server=on'
      : `write socket,id=ID,path=PATH,server=on and join the two: socat UNIX-CONNECT:PATH ${socat}`,
  )
}

/** What QEMU refuses as well, whether the chardev is used or not. */
function checkPlace(given: Given): void {
  const [path, host, port] = ['path', 'host', 'port'].map(name => given.text(name))
  const fd = given.text('fd') ?? given.text('str')
  const tcp = host ?? port
  if ([path, tcp, fd].filter(place => place !== undefined).length !== 1) {
    throw given.invalid("one of 'path', 'fd' and 'host' is required", 'for example path=/run/c0.sock')
  }
  if (tcp !== undefined && port === undefined) throw given.invalid('no port given', 'add port=4000')
  if (given.bool('ipv4') === false && given.bool('ipv6') === false) {
    throw given.invalid('cannot disable IPv4 and IPv6 at same time', 'leave one of them out')
  }
  for (const name of ['wait', 'nodelay', 'delay', 'tight', 'logappend']) given.bool(name)
}

function socketStream(given: Given, server: boolean): ChardevStream {
  refuseOptions(given)
  return {
    address: `${place(given, server)}${server && fdOf(given) === undefined ? ',server' : ''}`,
    server,
    reconnects: !server && ((given.number('reconnect') ?? 0) > 0 || (given.number('reconnect-ms') ?? 0) > 0),
    tlsCreds: given.text('tls-creds'),
  }
}

function fdOf(given: Given): string | undefined {
  return given.text('fd') ?? given.text('str')
}

function place(given: Given, server: boolean): string {
  const fd = fdOf(given)
  if (fd !== undefined) return `fd:${doubleCommas(fd)}`
  const path = given.text('path')
  if (path !== undefined) return `unix:${doubleCommas(path)}`
  const host = hostOf(given, server)
  return doubleCommas(`tcp:${host.includes(':') ? `[${host}]` : host}:${given.text('port')}`)
}

/** Of `ipv4` and `ipv6`, one that is on alone leaves no choice; QEMU looks names up accordingly. */
function hostOf(given: Given, server: boolean): string {
  const host = (given.text('host') ?? '').replace(/^\[(.*)\]$/, '$1')
  const [ipv4, ipv6] = [given.bool('ipv4'), given.bool('ipv6')]
  const only4 = ipv6 === false || (ipv4 === true && ipv6 !== true)
  const only6 = ipv4 === false || (ipv6 === true && ipv4 !== true)
  if (!only4 && !only6) return host
  if (only4 ? isIPv4(host) : isIPv6(host)) return host
  if (isIPv4(host) || isIPv6(host)) {
    throw given.invalid(`host=${host} is no address of ${only4 ? 'IPv4' : 'IPv6'}`, 'leave ipv4 and ipv6 out')
  }
  if (host === 'localhost') return only4 ? '127.0.0.1' : '::1'
  if (host === '' && server) return only4 ? '0.0.0.0' : '::'
  throw unsupported(
    given.subject,
    `host=${host} is a name, and tapferry takes what it stands for, IPv4 or IPv6`,
    `write an address of ${only4 ? 'IPv4' : 'IPv6'} instead`,
  )
}

/** What a stream of frames cannot have, and what there is instead. */
function refuseOptions(given: Given): void {
  const refuse = (why: string, hint: string): never => {
    throw unsupported(given.subject, why, hint)
  }
  if (given.bool('abstract')) {
    refuse(
      'abstract=on: tapferry has sockets in the file system only',
      'write path=/run/c0.sock without abstract, on both sides',
    )
  }
  for (const name of ['telnet', 'tn3270', 'websocket']) {
    if (given.bool(name))
      refuse(`${name}=on would change the bytes of frames`, `leave ${name} out, on both sides`)
  }
  if (given.bool('mux'))
    refuse(
      'mux=on is for several users of one chardev, and a stream has one',
      'give each object a chardev of its own',
    )
  if (given.text('to') !== undefined)
    refuse('to= leaves open which port it will be', 'write the port that is meant')
  if (given.text('logfile') !== undefined) {
    refuse('logfile= is not written', 'leave it out; for a recording: tcpdump -i INTERFACE -w FILE')
  }
  if (given.text('tls-authz') !== undefined) {
    refuse('tls-authz= cannot be asked here', 'leave it out: who has a certificate of your CA may connect')
  }
}
