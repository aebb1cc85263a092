/**
 * `-object` to a filter of frames, to TLS credentials, or to something that has no part in frames. Pure.
 *
 * Properties and their defaults are those of QEMU 7.2 (qapi/qom.json, qapi/net.json), and `enable_when_stopped`.
 */

import type { Queue } from '../binding.ts'
import { didYouMean } from '../options/closest.ts'
import { invalid, unsupported } from './failures.ts'
import { Given } from './given.ts'
import { formatProperties, type Properties } from './keyval.ts'
import { readOption } from './option.ts'

interface Named {
  readonly id: string
  /** `filter-mirror 'm0'` */
  readonly subject: string
}

interface FilterBase extends Named {
  readonly netdev: string
  readonly queue: Queue
  readonly status: boolean
  readonly place: Place
  /** As it was given, to be written again with a change. */
  readonly properties: Properties
}

/** Where a filter goes among those of its netdev. */
export interface Place {
  readonly position: string
  readonly insert: 'before' | 'behind'
}

/** filter-mirror or filter-redirector. */
export interface StreamFilter extends FilterBase {
  readonly kind: 'stream'
  readonly type: 'filter-mirror' | 'filter-redirector'
  /** Ids of chardevs; one of them, or both. */
  readonly indev: string | undefined
  readonly outdev: string | undefined
  readonly vnetHdrSupport: boolean
  readonly enableWhenStopped: boolean | undefined
}

export interface BufferFilter extends FilterBase {
  readonly kind: 'buffer'
  /** Microseconds. */
  readonly interval: number
}

export interface TlsCredentials extends Named {
  readonly kind: 'tls-creds'
  readonly dir: string
  readonly endpoint: 'client' | 'server'
}

/** It takes or gives no frames. */
export interface Bystander extends Named {
  readonly kind: 'bystander'
}

export type QemuObject = StreamFilter | BufferFilter | TlsCredentials | Bystander

const FILTER = ['id', 'netdev', 'queue', 'status', 'position', 'insert']
const QUEUES = ['all', 'rx', 'tx'] as const

/** Objects that filter frames in a way that only QEMU can, and what to do instead. */
const ONLY_IN_QEMU: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  'filter-dump': [
    "a recording of the VM's frames is not tapferry's",
    'record at the interface, which `tapferry netdevs` tells: tcpdump -i INTERFACE -w FILE -s MAXLEN',
  ],
  'filter-replay': ["it belongs to QEMU's record and replay", 'leave it to QEMU'],
  'filter-rewriter': [
    'it changes the TCP numbers of frames on their way, and tapferry has copies only',
    'leave it to the QEMU of the secondary',
  ],
  'colo-compare': [
    'it compares what two VMs send, for the checkpoints of QEMU',
    'leave it to the QEMU of the primary',
  ],
}

/** User-creatable objects that have no part in frames. */
const BYSTANDERS = [
  ...['acpi-generic-initiator', 'authz-list', 'authz-list-file', 'authz-pam', 'authz-simple', 'can-bus'],
  ...['can-host-socketcan', 'cryptodev-backend', 'cryptodev-backend-builtin', 'cryptodev-backend-lkcf'],
  ...['cryptodev-vhost-user', 'dbus-vmstate', 'event-loop-base', 'input-barrier', 'input-linux', 'iommufd'],
  ...['iothread', 'main-loop', 'memory-backend-epc', 'memory-backend-file', 'memory-backend-memfd'],
  ...['memory-backend-ram', 'memory-backend-shm', 'pr-manager-helper', 'qtest', 'rng-builtin', 'rng-egd'],
  ...['rng-random', 'secret', 'secret_keyring', 'sev-guest', 'sev-snp-guest', 'tdx-guest', 'thread-context'],
  ...['throttle-group', 'tls-cipher-suites', 'x-remote-object', 'x-vfio-user-server'],
]

type Parser = (named: Named, properties: Properties) => QemuObject

const PARSERS: Readonly<Record<string, Parser>> = {
  'filter-mirror': (named, properties) => streamFilter('filter-mirror', ['outdev'], named, properties),
  'filter-redirector': (named, properties) =>
    streamFilter('filter-redirector', ['indev', 'outdev', 'in_netdev', 'out_netdev'], named, properties),
  'filter-buffer': bufferFilter,
  'tls-creds-x509': tlsCredentials,
}

/** Throws QEMU_OPTION_INVALID and QEMU_OPTION_UNSUPPORTED. */
export function parseObject(text: string, flag: string): QemuObject {
  const { id, properties } = readOption(text, 'qom-type', flag)
  const type = properties.get('qom-type') ?? ''
  const named = { id, subject: `${type} '${id}'` }
  if (Object.hasOwn(PARSERS, type)) {
    const rest = new Map([...properties].filter(([name]) => name !== 'qom-type'))
    return (PARSERS[type] as Parser)(named, rest)
  }
  if (BYSTANDERS.includes(type)) return { kind: 'bystander', ...named }
  if (Object.hasOwn(ONLY_IN_QEMU, type)) {
    const [why, hint] = ONLY_IN_QEMU[type] ?? ['', '']
    throw unsupported(named.subject, why, hint)
  }
  if (type === 'tls-creds-anon' || type === 'tls-creds-psk') {
    throw unsupported(
      named.subject,
      'tapferry knows certificates only',
      'write tls-creds-x509, on both sides',
    )
  }
  const known = [...Object.keys(PARSERS), ...Object.keys(ONLY_IN_QEMU), ...BYSTANDERS]
  throw invalid(
    `${flag} '${text}'`,
    `QEMU has no object '${type}'`,
    didYouMean(type, known) ?? `objects are ${Object.keys(PARSERS).join(', ')}`,
  )
}

/** Written again, with other values; undefined leaves a property out. */
export function rewritten(
  type: string,
  { properties }: FilterBase,
  changes: Readonly<Record<string, string | undefined>>,
): string {
  const merged = Object.entries({ 'qom-type': type, ...Object.fromEntries(properties), ...changes })
  const given = merged.filter((pair): pair is [string, string] => pair[1] !== undefined)
  return formatProperties(new Map(given), 'qom-type')
}

function streamFilter(
  type: StreamFilter['type'],
  ends: readonly string[],
  named: Named,
  properties: Properties,
): StreamFilter {
  const given = new Given(named.subject, properties, [
    ...FILTER,
    ...ends,
    'vnet_hdr_support',
    'enable_when_stopped',
  ])
  const base = filterBase(named, given, properties)
  const [inNetdev, outNetdev] = [given.text('in_netdev'), given.text('out_netdev')]
  if (inNetdev !== undefined || outNetdev !== undefined) {
    throw unsupported(
      named.subject,
      'in_netdev and out_netdev are options of their own here',
      `write --in-netdev ${inNetdev ?? 'NETDEV'} --out-netdev ${outNetdev ?? 'NETDEV'}`,
    )
  }
  const [indev, outdev] = [given.text('indev'), given.text('outdev')]
  if (type === 'filter-mirror') given.required('outdev', 'c0')
  if (indev === undefined && outdev === undefined) {
    throw given.invalid(
      "filter redirector needs 'indev' or 'outdev', at least one property set",
      'add indev=c0',
    )
  }
  if (indev === outdev) {
    throw given.invalid(
      "'indev' and 'outdev' could not be same for filter redirector",
      'give each its own chardev',
    )
  }
  return {
    kind: 'stream',
    type,
    ...base,
    indev,
    outdev,
    vnetHdrSupport: given.bool('vnet_hdr_support') ?? false,
    enableWhenStopped: given.bool('enable_when_stopped'),
  }
}

function bufferFilter(named: Named, properties: Properties): BufferFilter {
  const given = new Given(named.subject, properties, [...FILTER, 'interval'])
  const base = filterBase(named, given, properties)
  given.required('interval', '100000, in microseconds')
  const interval = given.number('interval') ?? 0
  if (interval === 0) throw given.invalid('interval requires a positive value', 'it is in microseconds')
  return { kind: 'buffer', ...base, interval }
}

function filterBase(named: Named, given: Given, properties: Properties): FilterBase {
  const position = given.text('position') ?? 'tail'
  if (position !== 'head' && position !== 'tail' && !/^id=./.test(position)) {
    throw given.invalid(
      "position expects 'head', 'tail' or 'id=<id>'",
      'leave it out, or write position=tail',
    )
  }
  const status = given.text('status') ?? 'on'
  if (status !== 'on' && status !== 'off') {
    throw given.invalid(
      "Invalid value for netfilter status, should be 'on' or 'off'",
      'write status=on or status=off',
    )
  }
  return {
    ...named,
    netdev: given.required('netdev', 'hn0'),
    queue: given.choice('queue', QUEUES) ?? 'all',
    status: status === 'on',
    place: { position, insert: given.choice('insert', ['behind', 'before']) ?? 'behind' },
    properties,
  }
}

function tlsCredentials(named: Named, properties: Properties): TlsCredentials {
  const given = new Given(named.subject, properties, [
    ...['id', 'dir', 'endpoint', 'verify-peer', 'priority', 'passwordid', 'sanity-check'],
  ])
  const refuse = (why: string, hint: string): never => {
    throw unsupported(named.subject, why, hint)
  }
  if (given.bool('verify-peer') === false) {
    refuse(
      'verify-peer=off would let anybody be the peer',
      'leave it out, and give the peer a certificate of your CA',
    )
  }
  if (given.text('priority') !== undefined) refuse('priority= is a text of GnuTLS', 'leave it out')
  if (given.text('passwordid') !== undefined) {
    refuse(
      'passwordid= is for a key with a password',
      'leave it out, and keep the key without one, of mode 0600',
    )
  }
  given.bool('sanity-check')
  return {
    kind: 'tls-creds',
    ...named,
    dir: given.required('dir', '/etc/pki/qemu'),
    endpoint: given.choice('endpoint', ['client', 'server']) ?? 'client',
  }
}
