/** The two ends of a plan: options -> what frames are taken from and where they go. Pure. */

import { usageError } from '../options/values.ts'
import { formatStreamAddress, isLoopback, type StreamAddress, type StreamEnd } from '../stream/address.ts'
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

export type PlannedEnd = NetdevEnd | StreamPlan

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
  return planStream(indev, '--indev', options)
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
  return planStream(outdev, '--outdev', options)
}

/** `struct virtio_net_hdr_v1` (linux/virtio_net.h), in bytes: what is announced unless something else is known. */
const USUAL_HEADER_LENGTH = 12

/** Bytes of the header that is written before each frame; undefined where the input's frames decide. */
export function writtenHeaderLength(input: PlannedEnd, output: StreamPlan): number | undefined {
  if (output.vnetHdrLength !== undefined || input.kind === 'stream') return output.vnetHdrLength
  return output.vnetHdrSupport ? USUAL_HEADER_LENGTH : 0
}

/** What only both ends together can tell. */
export function checkEnds(input: PlannedEnd, output: PlannedEnd, options: JobOptions): void {
  const streams = [input, output].filter(end => end.kind === 'stream')
  if (streams.length === 0) refuseStreamOptions(options)
  if (options.tlsCreds !== undefined && !streams.some(({ tlsCreds }) => tlsCreds === options.tlsCreds)) {
    throw usageError('--tls-creds is for tcp, and neither end takes it from there', 'leave it out')
  }
  if (options.insecure && !streams.some(({ address, server }) => server && address.kind === 'tcp')) {
    throw usageError('--insecure is for a TCP server, and neither end is one', 'leave it out')
  }
  if (streams.length === 2 && options.netns !== undefined) {
    throw usageError(
      '--netns is for interfaces, and both ends are streams',
      'leave it out, or start tapferry in that namespace: ip netns exec NAME tapferry run ...',
    )
  }
  if (input.kind !== 'stream' || output.kind !== 'stream' || input.address.kind === 'fd') return
  // One descriptor has two directions; one socket path or port would be a loop.
  const [indev, outdev] = [input, output].map(({ address }) => formatStreamAddress(address))
  if (indev === outdev) {
    throw usageError(
      `'indev' and 'outdev' could not be same: both are ${indev}`,
      'give each its own socket; frames would come straight back',
    )
  }
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

/** What has no effect between two interfaces. */
function refuseStreamOptions(options: JobOptions): void {
  const { vnetHdrSupport, vnetHdrLen, insecure, tlsCreds, hold, buffer, bufferFrames, drop } = options
  const given = (candidates: Record<string, unknown>): string | undefined =>
    Object.entries(candidates).find(([, value]) => value !== undefined)?.[0]
  const aboutStreams = given({
    '--vnet-hdr-support': vnetHdrSupport,
    '--vnet-hdr-len': vnetHdrLen,
    '--insecure': insecure,
    '--tls-creds': tlsCreds,
  })
  if (aboutStreams !== undefined) {
    throw usageError(`${aboutStreams} needs --indev or --outdev: it is about streams`, 'leave it out')
  }
  const aboutBuffer = given({ '--buffer': buffer, '--buffer-frames': bufferFrames, '--drop': drop })
  if (aboutBuffer !== undefined && hold === undefined) {
    throw usageError(
      `${aboutBuffer} needs --hold, --indev or --outdev: between interfaces frames wait in the capture`,
      'leave it out',
    )
  }
}
