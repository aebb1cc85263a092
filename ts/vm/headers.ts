/**
 * Whether a filter of QEMU reads, or writes, the virtio-net headers that we do at our end of the stream. Nothing on
 * the wire tells, and QEMU's reader takes whatever comes: with other headers its guest gets garbage, or nothing.
 *
 * `vnet_hdr_support` says whether the header's length is announced. Whether there is a header, and of how many bytes,
 * is for the filter's netdev: a NIC that has its TAP give and take headers sets their length there (measured on QEMU
 * 7.2; net/tap.c, TUNSETVNETHDRSZ), and everything else has none.
 */

import type { TapDescriptor } from '../binding.ts'
import type { Monitor } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import type { NetClient } from './info-network.ts'
import { listNetClients } from './net-clients.ts'
import type { OppositeFilter, StreamRole } from './other-end.ts'
import { tapsBehind, tapsOf } from './taps.ts'

/** How we read or write. */
export interface OwnHeaders {
  readonly role: StreamRole
  /** As people know the stream. */
  readonly stream: string
  readonly vnetHdrSupport: boolean
  /** Bytes that we write before each frame; undefined where the frames decide, and for an indev. */
  readonly length: number | undefined
}

/** A filter that is set otherwise than we are. */
export interface Mismatch {
  readonly filter: string
  readonly chardev: string
  readonly setting: 'vnet_hdr_support' | 'vnet_hdr_len'
  /** What would be right here. */
  readonly wanted: boolean | number
  readonly message: string
  readonly hint: string
}

/** What comes of it, by our role. */
const CONSEQUENCES: Readonly<Record<StreamRole, string>> = {
  indev: 'its frames are not understood',
  outdev: 'its guest gets garbage, or nothing',
}

/** What differs at the first look; the length means nothing before the other setting is right. */
export async function compareHeaders(
  monitor: Monitor,
  opposite: OppositeFilter,
  own: OwnHeaders,
): Promise<Mismatch | undefined> {
  const support = compareSupport(opposite, own)
  if (support !== undefined || own.length === undefined) return support
  const lengths = await headerLengths(monitor, opposite.netdev)
  return lengths === undefined ? undefined : compareLength(opposite, own, lengths)
}

/** Pure. */
export function compareSupport(
  { filter, netdev, chardev }: OppositeFilter,
  own: OwnHeaders,
): Mismatch | undefined {
  const theirs = filter.properties['vnet_hdr_support']
  // A QEMU without the property has no such headers; an unknown value says nothing.
  if (typeof theirs !== 'boolean' || theirs === own.vnetHdrSupport) return undefined
  const [here, there] = [onOff(own.vnetHdrSupport), onOff(theirs)]
  const does = own.role === 'outdev' ? 'reads' : 'writes'
  return {
    ...{ filter: filter.id, chardev, setting: 'vnet_hdr_support', wanted: theirs },
    message:
      `${filter.type} '${filter.id}' on ${netdev} of the VM ${does} ${own.stream} with vnet_hdr_support=${there}, ` +
      `tapferry has --vnet-hdr-support=${here}: ${CONSEQUENCES[own.role]}`,
    hint: `set --vnet-hdr-support=${there} here, or vnet_hdr_support=${here} there`,
  }
}

/** `lengths`: those that the netdev of the filter may have. Pure. */
export function compareLength(
  { filter, netdev, chardev }: OppositeFilter,
  own: OwnHeaders,
  lengths: readonly number[],
): Mismatch | undefined {
  const { length } = own
  const [wanted] = lengths
  if (length === undefined || wanted === undefined || lengths.includes(length)) return undefined
  const takes = wanted === 0 ? 'no virtio-net headers' : `virtio-net headers of ${wanted} bytes`
  return {
    ...{ filter: filter.id, chardev, setting: 'vnet_hdr_len', wanted },
    message:
      `${filter.type} '${filter.id}' of the VM takes ${takes}, those of its netdev ${netdev}, and tapferry writes ` +
      `${length === 0 ? 'none' : `${length} bytes`} to ${own.stream}: ${CONSEQUENCES[own.role]}`,
    hint: `set --vnet-hdr-len=${wanted}`,
  }
}

/** The likeliest length first; undefined where it is not certain. */
async function headerLengths(monitor: Monitor, netdev: string): Promise<readonly number[] | undefined> {
  const clients = await listNetClients(monitor)
  const backend = clients.find(({ type, id }) => type !== 'nic' && id === netdev)
  const device = clients.find(({ type, id }) => type === 'nic' && id === backend?.device)
  if (backend === undefined) return undefined
  if (backend.type !== 'tap') return lengthsBehind(backend, device, undefined)
  const vm = await monitor.process()
  const taps = vm === undefined ? [] : await tapsOf(vm.pid)
  const [tap] = tapsBehind(
    backend,
    clients.filter(({ type }) => type !== 'nic'),
    taps,
  )
  if (tap === undefined) return undefined
  const descriptor = await loadBinding()
    .inspectTapDescriptor(tap.pid, tap.fd)
    .catch(() => undefined)
  return lengthsBehind(backend, device, descriptor)
}

/** Backends that are never asked for headers; of those that are left out it is not known. */
const WITHOUT_HEADERS: ReadonlySet<string> = new Set(['user', 'socket', 'stream', 'dgram', 'hubport'])

/** NICs that have their TAP give and take headers (hw/net: qemu_using_vnet_hdr). */
const NICS_WITH_HEADERS = /^(?:virtio-net|e1000e$|igb$|vmxnet3$)/

/** Before its driver has said more, a guest's virtio-net NIC has this. */
const FIRST_LENGTH = 10

/** Pure. `tap`: what the kernel tells of the backend's TAP, if it is one. */
export function lengthsBehind(
  backend: NetClient,
  device: NetClient | undefined,
  tap: TapDescriptor | undefined,
): readonly number[] | undefined {
  if (WITHOUT_HEADERS.has(backend.type)) return [0]
  if (backend.type !== 'tap' || tap === undefined) return undefined
  if (!tap.vnetHeader || device === undefined || !NICS_WITH_HEADERS.test(device.model ?? '')) return [0]
  const { vnetHeaderBytes } = tap
  // Once the guest is up it may be another one, but never none.
  return vnetHeaderBytes === FIRST_LENGTH ? [12, 10, 20] : [vnetHeaderBytes]
}

function onOff(on: boolean): string {
  return on ? 'on' : 'off'
}
