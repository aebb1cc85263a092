/**
 * The virtqueue through which a guest receives what comes from a netdev, found by the VM's monitor: where its rings
 * are, by addresses of the VM's process (virtio 1.2, 2.7; QEMU's x-query-virtio).
 *
 * What cannot be counted exactly has no ring here, but a reason in one line.
 */

import type { HandoverRing } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import { addressIn, findGuestMemory } from './guest-memory.ts'

/** A netdev's receive queue, or why it is not to be had. */
export type ReceiveQueue = LocatedQueue | { readonly whyNoRing: string }

interface LocatedQueue {
  readonly ring: HandoverRing
  /** Whose it is, for the monitor: a path of QEMU's object model. */
  readonly device: string
}

/** The receive queue of a device with several is 0, 2, 4 and so on; its control queue is the last of all. */
const FIRST_QUEUE = 0
const SECOND_RECEIVE_QUEUE = 2
/** Of a device with one pair: receive, transmit, control. */
const QUEUES_OF_ONE_PAIR = 3

interface DeviceStatus {
  readonly 'num-vqs': number
  readonly 'guest-features': FeatureSet
  /** There while vhost serves the device. */
  readonly 'vhost-dev'?: object
}

/** Each as `VIRTIO_NET_F_MRG_RXBUF: Driver can merge receive buffers`. */
interface FeatureSet {
  readonly transports?: readonly string[]
  readonly 'dev-features'?: readonly string[]
}

interface QueueStatus {
  readonly 'vring-num': number
  readonly 'vring-desc': number
  readonly 'vring-avail': number
  readonly 'vring-used': number
  readonly 'used-idx': number
}

/** `activeQueues`: of a TAP with several, how many the VM reads, if that is known. Never rejects. */
export async function findReceiveQueue(
  monitor: Monitor,
  netdev: string,
  activeQueues?: number,
): Promise<ReceiveQueue> {
  try {
    const path = await devicePath(monitor, netdev)
    if (path === undefined) return { whyNoRing: `netdev ${netdev} has no virtio device` }
    const obstacle = await obstacleAt(monitor, path, activeQueues)
    if (typeof obstacle === 'string') return { whyNoRing: obstacle }
    return await locate(monitor, path, obstacle)
  } catch (error) {
    const { message } = TapferryError.from(error)
    return { whyNoRing: `the VM does not tell where its receive queue is: ${message}` }
  }
}

/** The virtio device whose property `netdev` is that one. */
async function devicePath(monitor: Monitor, netdev: string): Promise<string | undefined> {
  const devices = await monitor.command<{ path: string; name: string }[]>('x-query-virtio')
  for (const { path, name } of devices) {
    if (name !== 'virtio-net') continue
    if ((await monitor.command<unknown>('qom-get', { path, property: 'netdev' })) === netdev) return path
  }
  return undefined
}

/** The features that the guest uses, or why its queue cannot be followed. */
async function obstacleAt(
  monitor: Monitor,
  path: string,
  activeQueues: number | undefined,
): Promise<string | ReadonlySet<string>> {
  const status = await monitor.command<DeviceStatus>('x-query-virtio-status', { path })
  const features = featureNames(status['guest-features'])
  if (status['vhost-dev'] !== undefined) return 'vhost serves its queue, not QEMU'
  if (features.has('VIRTIO_F_RING_PACKED')) return 'its ring is packed, and has no used index'
  if (features.has('VIRTIO_F_IN_ORDER'))
    return 'its used ring has no entry for each buffer (VIRTIO_F_IN_ORDER)'
  if (features.has('VIRTIO_F_IOMMU_PLATFORM')) return "its addresses are an IOMMU's, not the guest's memory"
  if (status['num-vqs'] > QUEUES_OF_ONE_PAIR && (await hasSeveral(monitor, path, activeQueues))) {
    return 'several receive queues are in use, and there is no order between them'
  }
  return features
}

async function hasSeveral(
  monitor: Monitor,
  path: string,
  activeQueues: number | undefined,
): Promise<boolean> {
  if (activeQueues !== undefined) return activeQueues > 1
  return (await queueStatus(monitor, path, SECOND_RECEIVE_QUEUE))['vring-desc'] !== 0
}

async function locate(monitor: Monitor, path: string, features: ReadonlySet<string>): Promise<ReceiveQueue> {
  const status = await queueStatus(monitor, path, FIRST_QUEUE)
  const { 'vring-num': queueSize, 'vring-desc': desc, 'vring-avail': avail, 'vring-used': used } = status
  if (desc === 0 || used === 0) return { whyNoRing: "the guest's driver has not set up its queue" }
  const memory = await findGuestMemory(monitor)
  const [descriptors, available, usedRing] = [desc, avail, used].map(address =>
    addressIn(memory, BigInt(address)),
  )
  if (descriptors === undefined || usedRing === undefined) {
    return { whyNoRing: "its queue is not in the guest's memory" }
  }
  const mergeable = features.has('VIRTIO_NET_F_MRG_RXBUF')
  const ring = {
    ...{ queueSize, descriptors, used: usedRing, mergeable, memory },
    ...(available === undefined ? {} : { available }),
    headerLength: headerLength(features, mergeable),
  }
  return { ring, device: path }
}

/**
 * How many buffers of such a queue have been used (mod 2^16), as the monitor tells. One that has to be waited for, because
 * the VM's state is on its way, answers within `timeoutMs`, or this rejects as Monitor.command does.
 */
export async function usedIndex(monitor: Monitor, device: string, timeoutMs: number): Promise<number> {
  const answer = await queueStatus(monitor, device, FIRST_QUEUE, { timeoutMs })
  return answer['used-idx']
}

/** Bytes of `struct virtio_net_hdr` as the guest has it (virtio 1.2, 5.1.6). */
function headerLength(features: ReadonlySet<string>, mergeable: boolean): number {
  if (features.has('VIRTIO_NET_F_HASH_REPORT')) return 20
  return mergeable || features.has('VIRTIO_F_VERSION_1') ? 12 : 10
}

function featureNames({ transports = [], 'dev-features': device = [] }: FeatureSet): ReadonlySet<string> {
  return new Set([...transports, ...device].map(text => text.split(':')[0] ?? text))
}

function queueStatus(
  monitor: Monitor,
  path: string,
  queue: number,
  options?: { timeoutMs: number },
): Promise<QueueStatus> {
  return monitor.command<QueueStatus>('x-query-virtio-queue-status', { path, queue }, options)
}
