import test from 'ava'
import { records, tapferry } from '../support/cli.ts'

const ENDS = ['--in-netdev=tapA', '--out-netdev=tapB']

async function plan(...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await tapferry('run', ...ENDS, '--dry-run', '--json', ...args)
  if (status !== 0) throw new Error(stderr)
  const [record] = records(stdout)
  return record ?? {}
}

test('--dry-run prints the plan on stdout and opens nothing', async t => {
  const { status, stdout, stderr } = await tapferry('run', ...ENDS, '--dry-run', '--qmp=/nowhere/vm.qmp')
  t.is(status, 0)
  t.is(stderr, '')
  t.regex(stdout, /^in_netdev +tapA$/m)
  t.regex(stdout, /^out_netdev +tapB$/m)
  t.regex(stdout, /^queue +tx: frames to the guest$/m)
  t.regex(stdout, /^monitor +\/nowhere\/vm\.qmp$/m)
  t.regex(stdout, /^pre-roll +50 ms$/m)
  t.regex(stdout, /^mark +0x3074$/m)
})

test('the defaults are those of the help', async t => {
  const { time: _, ...fields } = await plan()
  t.deepEqual(fields, {
    type: 'plan',
    in_netdev: 'tapA',
    out_netdev: 'tapB',
    queue: 'tx',
    status: 'on',
    when_stopped: 'off',
    pre_roll_ms: 50,
    pre_roll_bytes: 16 * 1024 * 1024,
    latency: 'balanced',
    mark: 0x3074,
    wait: false,
    stats_interval_ms: 0,
  })
})

const accepted: readonly (readonly [args: string[], fields: Record<string, unknown>])[] = [
  [['--queue', 'rx'], { queue: 'rx' }],
  [['--queue=all'], { queue: 'all' }],
  [['--status=off'], { status: 'off' }],
  [['--enable-when-stopped'], { when_stopped: 'on' }],
  [['--enable-when-stopped=on'], { when_stopped: 'on' }],
  [['--enable-when-stopped=off'], { when_stopped: 'off' }],
  [['--only-when-stopped', '--qmp=vm.qmp'], { when_stopped: 'only', qmp: 'vm.qmp' }],
  [['--only-when-stopped', '--qmp=vm.qmp', '--enable-when-stopped'], { when_stopped: 'only' }],
  [['--qmp=[::1]:4444'], { qmp: '[::1]:4444' }],
  [['--qmp', 'localhost:4444'], { qmp: 'localhost:4444' }],
  [['--pre-roll=0'], { pre_roll_ms: 0 }],
  [['--pre-roll=75ms'], { pre_roll_ms: 75 }],
  [['--latency=low'], { latency: 'low' }],
  [['--mark=7'], { mark: 7 }],
  [['--mark=0xFFFFffff'], { mark: 0xffff_ffff }],
  [['--wait'], { wait: true }],
  [['--duration=1.5'], { duration_ms: 1500 }],
  [['--duration=10s'], { duration_ms: 10_000 }],
  [['--duration=250ms'], { duration_ms: 250 }],
  [['--duration=5m'], { duration_ms: 300_000 }],
  [['--duration=1h'], { duration_ms: 3_600_000 }],
  [['--stats-interval=0'], { stats_interval_ms: 0 }],
  [['--stats-interval=2'], { stats_interval_ms: 2000 }],
  [['--count=1000'], { count: 1000 }],
]

for (const [args, fields] of accepted) {
  test(`is understood: ${args.join(' ')}`, async t => {
    t.like(await plan(...args), fields)
  })
}
