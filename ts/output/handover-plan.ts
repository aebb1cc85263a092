/** What `--dry-run` prints of a handover. Pure. */

import type { ChalkInstance } from 'chalk'
import type { HandoverPlan } from '../handover/plan.ts'
import { formatStreamAddress } from '../stream/address.ts'
import { formatCount, formatDuration } from './format.ts'
import type { RecordFields } from './printer.ts'

export function planLines(plan: HandoverPlan, colors: ChalkInstance): string {
  const { side, netdevs, address, tlsCreds } = plan
  const tls = tlsCreds === undefined ? '' : ` (TLS with ${tlsCreds})`
  const rows: (readonly [name: string, value: string])[] = [
    ['side', side],
    ['netdevs', netdevs.length === 0 ? 'all TAPs of the VM' : netdevs.join(', ')],
    ...(plan.netns === undefined ? [] : [['netns', plan.netns] as const]),
    ['monitor', plan.monitor],
    [side === 'source' ? 'to' : 'from', formatStreamAddress(address) + tls],
    ['hold', `${formatCount(plan.maxHoldBytes)} bytes for each netdev`],
    ['resume', `within ${formatDuration(plan.resumeTimeoutMs)}`],
    ['mark', `0x${plan.mark.toString(16)}`],
    ['wait', plan.wait ? 'for the monitor and netdevs' : 'no, fail if something is missing'],
    ['end', plan.persistent ? 'after a migration, not after a cancelled one' : 'after a migration'],
    ['report', plan.reportFile ?? 'none'],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${value}\n`).join('')
}

export function planRecord(plan: HandoverPlan): RecordFields {
  const { side, address } = plan
  return {
    side,
    netdevs: plan.netdevs.length === 0 ? undefined : plan.netdevs.join(','),
    netns: plan.netns,
    qmp: plan.monitor,
    [side === 'source' ? 'to' : 'from']: formatStreamAddress(address),
    tls_creds: plan.tlsCreds,
    max_hold_bytes: plan.maxHoldBytes,
    resume_timeout_ms: plan.resumeTimeoutMs,
    mark: plan.mark,
    wait: plan.wait,
    persistent: side === 'source' ? plan.persistent : undefined,
    report: plan.reportFile,
  }
}
