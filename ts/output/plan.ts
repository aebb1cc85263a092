/** What `--dry-run` prints. */

import type { ChalkInstance } from 'chalk'
import type { RunPlan } from '../run/plan.ts'
import { formatCount, formatDuration, QUEUE_IN_WORDS } from './format.ts'
import type { RecordFields } from './printer.ts'

const GATE_IN_WORDS: Record<RunPlan['whenStopped'], string> = {
  off: 'open while the VM runs (enable_when_stopped=off)',
  on: 'open whether the VM runs or not (enable_when_stopped=on)',
  only: 'open only while the VM is stopped',
}

export function planLines(plan: RunPlan, colors: ChalkInstance): string {
  const rows: [string, string][] = [
    ['in_netdev', plan.inNetdev],
    ['out_netdev', plan.outNetdev],
    ...netnsRows(plan),
    ['queue', `${plan.queue}: ${QUEUE_IN_WORDS[plan.queue]}`],
    ['monitor', plan.monitor ?? 'none, the VM counts as running'],
    ['gate', plan.status ? GATE_IN_WORDS[plan.whenStopped] : 'closed (status=off)'],
    ['pre-roll', plan.preRollMs === 0 ? 'none' : `${plan.preRollMs} ms`],
    ['latency', plan.latency],
    ['mark', `0x${plan.mark.toString(16)}`],
    ['wait', plan.wait ? 'for whatever is missing' : 'no, fail if something is missing'],
    ['end', endInWords(plan)],
    [
      'statistics',
      plan.statsIntervalMs === 0 ? 'at the end' : `every ${formatDuration(plan.statsIntervalMs)}`,
    ],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${value}\n`).join('')
}

function netnsRows({ inNetns, outNetns }: RunPlan): [string, string][] {
  if (inNetns === outNetns) return inNetns === undefined ? [] : [['netns', inNetns]]
  return [['netns', `${inNetns ?? 'own'} -> ${outNetns}`]]
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
  return {
    in_netdev: plan.inNetdev,
    out_netdev: plan.outNetdev,
    in_netns: plan.inNetns,
    out_netns: plan.outNetns,
    queue: plan.queue,
    qmp: plan.monitor,
    status: plan.status ? 'on' : 'off',
    when_stopped: plan.whenStopped,
    pre_roll_ms: plan.preRollMs,
    pre_roll_bytes: plan.preRollBytes,
    latency: plan.latency,
    mark: plan.mark,
    wait: plan.wait,
    duration_ms: plan.durationMs,
    count: plan.count,
    stats_interval_ms: plan.statsIntervalMs,
  }
}
