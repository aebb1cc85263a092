/** The two ends of a plan: options -> what frames are taken from and where they go. Pure. */

import { usageError } from '../options/values.ts'
import { formatStreamAddress, isLoopback, type StreamAddress, type StreamEnd } from '../stream/address.ts'
import { type DatagramAddress, formatDatagramAddress } from '../stream/datagrams.ts'
import type { JobOptions } from './options.ts'

export interface NetdevEnd {
  kind: 'netdev'
  /** As given: a host interface's name or a netdev id of QEMU. */
  name: string
  /** The network namespace of an interface that is given by name: a name, a path or a process's number. */
  netns: string | undefined
}

export interface StreamPlan {
  kind: 'stream'
  address: StreamAddress
  server: boolean
  vnetHdrSupport: boolean
  /** Bytes of the virtio-net header, announced or not; undefined: as it comes, or as is usual. */
  vnetHdrLength: number | undefined
  /** The directory of credentials; undefined: no TLS. */
  tlsCreds: string | undefined
}

/** Frames in datagrams, one in each. */
export interface DatagramPlan extends Pick<DatagramAddress, 'to' | 'from'> {
  kind: 'datagram'
}

export type PlannedEnd = NetdevEnd | StreamPlan | DatagramPlan

const EXAMPLE = 'for example: tapferry run --in-netdev tapA --out-netdev tapB'

export function planInput(options: JobOptions): PlannedEnd {
  const { inNetdev, indev, netns } = options
  if (inNetdev !== undefined && indev !== undefined) {
    throw usageError(
      '--in-netdev and --indev contradict each other: there is one input',
      'leave one of them out',
    )
  }
  if (inNetdev !== undefined) return { kind: 'netdev', name: inNetdev, netns }
  if (indev === undefined) {
    throw usageError('--in-netdev is missing, or --indev: nothing to take frames from', EXAMPLE)
  }
  refuseCaptureOptions(options)
  return planPeer(indev, '--indev', options)
}

export function planOutput(options: JobOptions): PlannedEnd {
  const { outNetdev, outdev, netns, outNetns } = options
  if (outNetdev !== undefined && outdev !== undefined) {
    throw usageError(
      '--out-netdev and --outdev contradict each other: there is one output',
      'leave one of them out, and start one tapferry for each output',
    )
  }
  if (outdev === undefined) {
    refuseOutdevOptions(options)
    if (outNetdev !== undefined) return { kind: 'netdev', name: outNetdev, netns: outNetns ?? netns }
    throw usageError('--out-netdev is missing, or --outdev: nothing to send frames to', EXAMPLE)
  }
  if (outNetns !== undefined) {
    throw usageError(
      '--out-netns is for --out-netdev, and a stream is in no network namespace',
      'leave it out',
    )
  }
  return planPeer(outdev, '--outdev', options)
}

/** `struct virtio_net_hdr_v1` (linux/virtio_net.h), in bytes: what is announced unless something else is known. */
const USUAL_HEADER_LENGTH = 12

/** Bytes of the header that is written before each frame; undefined where the input's frames decide. */
export function writtenHeaderLength(input: PlannedEnd, output: StreamPlan): number | undefined {
  if (output.vnetHdrLength !== undefined || input.kind === 'stream') return output.vnetHdrLength
  return output.vnetHdrSupport ? USUAL_HEADER_LENGTH : 0
}

/** The address of an end that is no interface, as people write it. */
export function formatPeer(end: StreamPlan | DatagramPlan): string {
  return end.kind === 'stream' ? formatStreamAddress(end.address) : formatDatagramAddress(end)
}

/** What only both ends together can tell. */
export function checkEnds(input: PlannedEnd, output: PlannedEnd, options: JobOptions): void {
  const peers = [input, output].filter(end => end.kind !== 'netdev')
  const streams = peers.filter(end => end.kind === 'stream')
  if (streams.length === 0) refuseStreamOptions(options)
  if (peers.length === 0) refusePeerOptions(options)
  if (options.tlsCreds !== undefined && !streams.some(({ tlsCreds }) => tlsCreds === options.tlsCreds)) {
    throw usageError('--tls-creds is for tcp, and neither end takes it from there', 'leave it out')
  }
  const isOpen =
    streams.some(({ address, server }) => server && address.kind === 'tcp') ||
    (input.kind === 'datagram' && input.to.kind === 'udp')
  if (options.insecure && !isOpen) {
    throw usageError(
      '--insecure is for a TCP server or a dgram indev over UDP, and neither end is one',
      'leave it out',
    )
  }
  if (peers.length === 2 && options.netns !== undefined) {
    throw usageError(
      '--netns is for interfaces, and neither end is one',
      'leave it out, or start tapferry in that namespace: ip netns exec NAME tapferry run ...',
    )
  }
  if (input.kind === 'netdev' || output.kind === 'netdev') return
  const [indev, outdev] = [input, output].map(formatPeer)
  // One descriptor has two directions; one socket path or port would be a loop.
  if (input.kind === 'stream' && input.address.kind === 'fd') return
  if (indev === outdev) {
    throw usageError(
      `'indev' and 'outdev' could not be same: both are ${indev}`,
      'give each its own socket; frames would come straight back',
    )
  }
}

function planPeer(
  end: StreamEnd | DatagramAddress,
  flag: string,
  options: JobOptions,
): StreamPlan | DatagramPlan {
  return 'kind' in end ? planDatagrams(end, flag, options) : planStream(end, flag, options)
}

function planDatagrams({ to, from }: DatagramAddress, flag: string, { insecure }: JobOptions): DatagramPlan {
  if (flag === '--indev' && to.kind === 'udp' && !isLoopback(to.host) && !insecure) {
    throw usageError(
      `${flag}: ${formatDatagramAddress({ to })} would let other hosts send frames, without encryption or a password`,
      'be bound to dgram:localhost:PORT, or allow it: --insecure',
    )
  }
  return { kind: 'datagram', to, from }
}

function planStream(
  { address, server, vnetHdrSupport, vnetHdrLength, tlsCreds: own }: StreamEnd,
  flag: string,
  options: JobOptions,
): StreamPlan {
  // What is said of both ends is said of those that can have it.
  const tlsCreds = own ?? (address.kind === 'tcp' ? options.tlsCreds : undefined)
  if (
    server &&
    address.kind === 'tcp' &&
    !isLoopback(address.host) &&
    !options.insecure &&
    tlsCreds === undefined
  ) {
    throw usageError(
      `${flag}: ${formatStreamAddress(address)} would let other hosts connect, without encryption or a password`,
      'encrypt it with --tls-creds DIR, listen on tcp:localhost:PORT and let ssh carry it, or allow it: --insecure',
    )
  }
  return {
    kind: 'stream',
    address,
    server,
    vnetHdrSupport: vnetHdrSupport ?? options.vnetHdrSupport ?? false,
    vnetHdrLength: vnetHdrLength ?? options.vnetHdrLen,
    tlsCreds,
  }
}

/** A stream has no directions and is not captured from. */
function refuseCaptureOptions({ queue, latency }: JobOptions): void {
  if (queue !== undefined) {
    throw usageError(
      '--queue is for --in-netdev: a stream carries what its sender chose',
      'leave it out, and set the queue of the filter that sends',
    )
  }
  if (latency !== undefined) {
    throw usageError('--latency is for --in-netdev: frames of a stream pass at once', 'leave it out')
  }
}

function refuseOutdevOptions({ offloads }: JobOptions): void {
  if (offloads === undefined) return
  throw usageError(
    '--offloads needs --outdev: an interface is given what it can take',
    'leave it out, or write to a stream: --outdev unix:PATH',
  )
}

/** What has no effect without a stream: a datagram has neither a header beside its frame nor TLS. */
function refuseStreamOptions({ vnetHdrSupport, vnetHdrLen, tlsCreds }: JobOptions): void {
  const about = firstGiven({
    '--vnet-hdr-support': vnetHdrSupport,
    '--vnet-hdr-len': vnetHdrLen,
    '--tls-creds': tlsCreds,
  })
  if (about === undefined) return
  throw usageError(`${about} needs a stream as --indev or --outdev, and neither end is one`, 'leave it out')
}

/** What has no effect between two interfaces. */
function refusePeerOptions({ insecure, hold, buffer, bufferFrames, drop }: JobOptions): void {
  if (insecure !== undefined) {
    throw usageError('--insecure needs --indev or --outdev: it is about streams', 'leave it out')
  }
  const aboutBuffer = firstGiven({ '--buffer': buffer, '--buffer-frames': bufferFrames, '--drop': drop })
  if (aboutBuffer !== undefined && hold === undefined) {
    throw usageError(
      `${aboutBuffer} needs --hold, --indev or --outdev: between interfaces frames wait in the capture`,
      'leave it out',
    )
  }
}

function firstGiven(candidates: Record<string, unknown>): string | undefined {
  return Object.entries(candidates).find(([, value]) => value !== undefined)?.[0]
}
