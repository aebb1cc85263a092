/** Every counter and state of a report, with one plain sentence each. */

import type { DestinationNetdev, SourceNetdev } from './shape.ts'

/** Those that are numbers of frames, or of links. */
type CounterOf<Netdev> = {
  [Field in keyof Netdev]: Field extends `${string}_ms`
    ? never
    : NonNullable<Netdev[Field]> extends number
      ? Field
      : never
}[keyof Netdev]

export const SOURCE_COUNTERS: Readonly<Record<CounterOf<SourceNetdev>, string>> = {
  captured:
    'Frames for the guest that reached this TAP after the guest had stopped reading: all that follow are parts of it.',
  sent: 'Sent to the destination; each counts once, however often the link was lost.',
  acknowledged: 'Of those sent: the destination has dealt with them.',
  held: 'Still waiting for the destination at the end.',
  hold_full: 'Dropped: more were waiting than --max-hold allows.',
  ring_full: 'Dropped: the kernel had no room for what tapferry had not read yet.',
  unsendable: 'Dropped: no Ethernet frames, captured in part only, or longer than 69632 bytes.',
  reflected:
    'Not needed: the guest sent them itself at its new place, and the network floods them back to here.',
  no_peer:
    'Dropped: the destination was not there at the end, or was another process that did not know them.',
  discarded: 'Not needed: the migration was cancelled, and the guest has them here.',
  given_back: 'Given back to the guest here after a cancelled migration: QEMU had taken and dropped them.',
  links_lost: 'How often the connection to the destination was lost.',
}

export const DESTINATION_COUNTERS: Readonly<Record<CounterOf<DestinationNetdev>, string>> = {
  received: 'Frames that came from the source, each once: all down to discarded are parts of it.',
  injected: "Given to the guest's TAP.",
  deduplicated: 'Not needed: the network had brought an equal frame to this TAP already.',
  parked: 'Still waiting to be injected at the end.',
  before_cut: 'Not needed: the guest had them before it stopped.',
  refused: 'Dropped: the kernel did not take them for the TAP.',
  discarded: 'Thrown away, because the migration was cancelled: the guest has them at the source.',
  parked_most: 'The most frames that were waiting at one time.',
  kept_out:
    'Brought here by the network while the gate was closed, and kept from the guest: the source has them too.',
  direct: 'Brought to this TAP by the network itself once the gate was open: what needed no handover.',
  lost_at_tap: "Dropped by the TAP, whose queue was full. The interface's own counter, whoever sent them.",
  links_lost: 'How often the connection to the source was lost.',
}

/** Frames that the guest did not get, unless the migration was cancelled. */
export const LOST: ReadonlySet<string> = new Set([
  'held',
  'hold_full',
  'ring_full',
  'unsendable',
  'no_peer',
  'parked',
  'refused',
  'lost_at_tap',
])

/** A state that is not listed stands for itself. */
export const STATES: Readonly<Record<string, string>> = {
  armed: 'ready; nothing is captured',
  calibrate: 'the migration has begun: frames are captured and counted',
  stopping: 'the VM has stopped: the cut is being found',
  forward: 'frames from the cut on are sent',
  drain: 'the VM runs at the destination: late frames are sent on',
  cancelled: 'the VM runs on here',
  gated: 'waiting; the gate keeps floods from the TAP',
  parked: 'frames come, and wait for the cut',
  injecting: 'the waiting frames are given to the TAP',
  passing: 'the gate is open; frames go through as they come',
  discarded: 'the migration was cancelled: nothing is injected',
  settling: 'everything is here; waiting for a pause in which the queue of the TAP can be as long as it was',
  give_back: 'the VM runs on here, and is given back what QEMU has dropped',
  done: 'ended as it should',
  failed: 'ended otherwise',
  stopped: 'told to stop before a migration came',
}
