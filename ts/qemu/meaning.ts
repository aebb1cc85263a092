/** What a filter does in QEMU and cannot do here, because tapferry stands beside the frames, and QEMU in their way. Pure. */

import { unsupported } from './failures.ts'
import { type BufferFilter, rewritten, type StreamFilter } from './object.ts'

const ALSO = {
  tx: 'the guest would get them as well',
  rx: 'they would leave the guest as well',
  all: 'they would go on as well',
} as const

/** For COLO, a frame that was not compared, and one that comes twice, are worse than none. */
export function refuseRedirection(filter: StreamFilter): void {
  if (filter.type !== 'filter-redirector' || filter.outdev === undefined) return
  const copies = rewritten('filter-mirror', filter, { indev: undefined, enable_when_stopped: undefined })
  const input = rewritten(filter.type, filter, { id: `${filter.id}-indev`, outdev: undefined, queue: 'tx' })
  throw unsupported(
    filter.subject,
    `its outdev takes frames away from ${filter.netdev} in QEMU, and has copies here: ${ALSO[filter.queue]}`,
    [
      `if copies will do: --object ${copies}`,
      ...(filter.indev === undefined ? [] : [`and for its indev: --object ${input}`]),
    ].join('\n'),
  )
}

/** What comes in is sent into an interface, and leaves it towards the guest. */
export function refuseDirections(filter: StreamFilter): void {
  if (filter.indev === undefined || filter.queue === 'tx') return
  const what =
    filter.queue === 'rx'
      ? 'queue=rx puts frames where those of the guest come from'
      : "queue=all, QEMU's default, puts each frame in both ways"
  throw unsupported(
    filter.subject,
    `${what}, and what tapferry sends into an interface goes to the guest`,
    [
      `for the guest: --object ${rewritten(filter.type, filter, { queue: 'tx' })}`,
      'for the network, send into a bridge: --indev ADDR --out-netdev BRIDGE',
    ].join('\n'),
  )
}

/** A buffer that none of the frames pass that tapferry has. */
export function refuseIdleBuffer({ subject, netdev }: BufferFilter): never {
  throw unsupported(
    subject,
    `it would hold what the guest on ${netdev} itself gets or sends, and tapferry has copies only`,
    'leave it out; for copies, put it where their frames pass it first: on the netdev and queue of the filter, before it',
  )
}
