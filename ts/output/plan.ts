/** What `--dry-run` prints. */

import type { ChalkInstance } from 'chalk'
import { type DatagramPlan, formatPeer, type PlannedEnd } from '../run/ends.ts'
import type { RunPlan } from '../run/plan.ts'
import { formatHostPort, formatStreamAddress } from '../stream/address.ts'
import { formatCount, formatDuration, holdInWords, QUEUE_IN_WORDS } from './format.ts'
import type { RecordFields } from './printer.ts'

const GATE_IN_WORDS: Record<RunPlan['whenStopped'], string> = {
  off: 'open while the VM runs (enable_when_stopped=off)',
  on: 'open whether the VM runs or not (enable_when_stopped=on)',
  only: 'open only while the VM is stopped',
}

type Row = [name: string, value: string]

export function planLines(plan: RunPlan, colors: ChalkInstance): string {
  const { input, output, object } = plan
  const rows: Row[] = [
    ...(object === undefined ? [] : [['object', object.id] satisfies Row]),
    ...endRows('in', input),
    ...endRows('out', output),
    ...netnsRows(plan),
    ...(input.kind === 'netdev'
      ? [['queue', `${plan.queue}: ${QUEUE_IN_WORDS[plan.queue]}`] satisfies Row]
      : []),
    ...offloadRows(plan),
    ['monitor', plan.monitor ?? 'none, the VM counts as running'],
    ['gate', plan.status ? GATE_IN_WORDS[plan.whenStopped] : 'closed (status=off)'],
    ['pre-roll', plan.preRollMs === 0 ? 'none' : `${plan.preRollMs} ms`],
    ['hold', plan.hold === undefined ? 'none' : holdInWords(plan.hold)],
    ['buffer', bufferInWords(plan)],
    ...(input.kind === 'netdev' ? [['latency', plan.latency] satisfies Row] : []),
    ['mark', `0x${plan.mark.toString(16)}`],
    ['wait', plan.wait ? 'for whatever is missing' : 'no, fail if something is missing'],
    ['end', endInWords(plan)],
    [
      'statistics',
      plan.statsIntervalMs === 0 ? 'at the end' : `every ${formatDuration(plan.statsIntervalMs)}`,
    ],
    ...(object === undefined ? [] : [['command', object.command] satisfies Row]),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${value}\n`).join('')
}

function endRows(side: 'in' | 'out', end: PlannedEnd): Row[] {
  if (end.kind === 'netdev') return [[`${side}_netdev`, end.name]]
  if (end.kind === 'datagram') return [[`${side}dev`, `${formatPeer(end)} (${datagramsInWords(side, end)})`]]
  const role = end.address.kind === 'fd' ? 'a socket that is open already' : end.server ? 'server' : 'client'
  const support = end.vnetHdrSupport ? ', vnet_hdr_support=on' : ''
  const length = end.vnetHdrLength === undefined ? '' : `, headers of ${end.vnetHdrLength} bytes`
  const tls = end.tlsCreds === undefined ? '' : `, TLS with ${end.tlsCreds}`
  return [[`${side}dev`, `${formatStreamAddress(end.address)} (${role}${support}${length}${tls})`]]
}

function datagramsInWords(side: 'in' | 'out', { from }: DatagramPlan): string {
  const other = from === undefined ? '' : ` from ${formatHostPort(from)}${side === 'in' ? ' alone' : ''}`
  return side === 'in' ? `datagrams${other}` : `datagrams${other}, whoever is there`
}

function netnsRows({ input, output }: RunPlan): Row[] {
  const named = [input, output].filter(end => end.kind === 'netdev').map(({ netns }) => netns)
  if (named.every(netns => netns === undefined)) return []
  return [['netns', [...new Set(named.map(netns => netns ?? 'own'))].join(' -> ')]]
}

function offloadRows({ output, completeOffloads }: RunPlan): Row[] {
  if (output.kind === 'netdev') return []
  return [['offloads', completeOffloads ? 'completed' : 'kept where a virtio-net header is written']]
}

function bufferInWords({ bufferBytes, bufferFrames, dropOldest }: RunPlan): string {
  const bounds = `${formatCount(bufferBytes)} bytes, ${formatCount(bufferFrames)} frames`
  return `${bounds}; when full, the ${dropOldest ? 'oldest' : 'newest'} is dropped`
}

function endInWords(plan: RunPlan): string {
  const conditions = [
    ...(plan.durationMs === undefined ? [] : [`after ${formatDuration(plan.durationMs)}`]),
    ...(plan.count === undefined ? [] : [`after ${formatCount(plan.count)} frames`]),
    'when stopped',
  ]
  return conditions.join(', or ')
}

export function planRecord(plan: RunPlan): RecordFields {
  const { input, output, hold, object } = plan
  const captures = input.kind === 'netdev'
  return {
    object: object?.id,
    command: object?.command,
    ...endFields('in', input),
    ...endFields('out', output),
    queue: captures ? plan.queue : undefined,
    offloads: output.kind !== 'netdev' ? (plan.completeOffloads ? 'complete' : 'keep') : undefined,
    qmp: plan.monitor,
    status: plan.status ? 'on' : 'off',
    when_stopped: plan.whenStopped,
    pre_roll_ms: plan.preRollMs,
    pre_roll_bytes: plan.preRollBytes,
    hold_ms: typeof hold === 'number' ? hold : undefined,
    hold_until_running: hold === 'until-running',
    buffer_bytes: plan.bufferBytes,
    buffer_frames: plan.bufferFrames,
    drop: plan.dropOldest ? 'oldest' : 'newest',
    latency: captures ? plan.latency : undefined,
    mark: plan.mark,
    wait: plan.wait,
    duration_ms: plan.durationMs,
    count: plan.count,
    stats_interval_ms: plan.statsIntervalMs,
  }
}

function endFields(side: 'in' | 'out', end: PlannedEnd): RecordFields {
  if (end.kind === 'netdev') return { [`${side}_netdev`]: end.name, [`${side}_netns`]: end.netns }
  if (end.kind === 'datagram') {
    return {
      [`${side}dev`]: formatPeer(end),
      [`${side}dev_server`]: side === 'in',
      [`${side}dev_vnet_hdr_support`]: false,
      [`${side}dev_from`]: end.from && formatHostPort(end.from),
    }
  }
  return {
    [`${side}dev`]: formatStreamAddress(end.address),
    [`${side}dev_server`]: end.server,
    [`${side}dev_vnet_hdr_support`]: end.vnetHdrSupport,
    [`${side}dev_vnet_hdr_len`]: end.vnetHdrLength,
    [`${side}dev_tls_creds`]: end.tlsCreds,
  }
}
