import test from 'ava'
import { records, tapferry } from '../support/cli.ts'

const ENDS = ['--in-netdev=tapA', '--out-netdev=tapB']

async function plan(...args: string[]): Promise<Record<string, unknown>> {
  return planOf(...ENDS, ...args)
}

async function planOf(...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await tapferry('run', '--dry-run', '--json', ...args)
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
    hold_until_running: false,
    buffer_bytes: 16 * 1024 * 1024,
    buffer_frames: 65_536,
    drop: 'newest',
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
  [['--hold=5s'], { hold_ms: 5000 }],
  [['--hold=100'], { hold_ms: 100, hold_until_running: false, when_stopped: 'off' }],
  [['--hold=until-running', '--qmp=q'], { hold_until_running: true, when_stopped: 'on' }],
  [['--hold=until-running', '--qmp=q', '--enable-when-stopped'], { when_stopped: 'on' }],
  [['--hold=until-running', '--qmp=q', '--only-when-stopped'], { when_stopped: 'only' }],
  [['--hold=100', '--buffer=64M'], { buffer_bytes: 64 * 1024 * 1024 }],
  [['--hold=100', '--buffer=128k', '--buffer-frames=1'], { buffer_bytes: 131_072, buffer_frames: 1 }],
  [['--hold=100', '--buffer=4294967295'], { buffer_bytes: 4_294_967_295 }],
  [['--hold=100', '--drop=oldest'], { drop: 'oldest' }],
]

for (const [args, fields] of accepted) {
  test(`is understood: ${args.join(' ')}`, async t => {
    t.like(await plan(...args), fields)
  })
}

const IN = '--in-netdev=tapA'
const OUT = '--out-netdev=tapB'

/** Whole command lines with streams, and what they come to. */
const streams: readonly (readonly [args: string[], fields: Record<string, unknown>])[] = [
  [
    [IN, '--outdev=unix:/run/a.sock'],
    { outdev: 'unix:/run/a.sock', outdev_server: false, outdev_vnet_hdr_support: false, offloads: 'keep' },
  ],
  [
    ['--indev=tcp:192.0.2.1:4000', OUT],
    { indev: 'tcp:192.0.2.1:4000', indev_server: false, indev_vnet_hdr_support: false },
  ],
  [['--indev=unix:/run/a.sock,server', OUT, '--netns=vm1'], { indev_server: true, out_netns: 'vm1' }],
  [['--indev=fd:3', '--outdev=fd:3'], { indev: 'fd:3', outdev: 'fd:3' }],
  [
    ['--indev=fd:3', '--outdev=fd:4', '--vnet-hdr-support'],
    { indev_vnet_hdr_support: true, outdev_vnet_hdr_support: true },
  ],
  [
    ['--indev=fd:3', '--outdev=fd:4,vnet-hdr-support=off', '--vnet-hdr-support'],
    { indev_vnet_hdr_support: true, outdev_vnet_hdr_support: false },
  ],
  [
    [IN, '--outdev=fd:4,vnet-hdr-support=on', '--vnet-hdr-len=10', '--offloads=complete'],
    { outdev_vnet_hdr_len: 10, offloads: 'complete' },
  ],
  [
    ['--indev=fd:3,vnet-hdr-len=0', '--outdev=fd:4', '--vnet-hdr-len=20'],
    { indev_vnet_hdr_len: 0, outdev_vnet_hdr_len: 20 },
  ],
  [['--indev=tcp:127.8.9.10:4000,server', OUT], { indev: 'tcp:127.8.9.10:4000' }],
  [['--indev=tcp:[::1]:4000,server=on', OUT], { indev: 'tcp:[::1]:4000' }],
  [['--indev=tcp:localhost:4000,server', OUT], { indev_server: true }],
  [
    ['--indev=tcp::4000,server', OUT, '--tls-creds=/etc/tls'],
    { indev_server: true, indev_tls_creds: '/etc/tls' },
  ],
  [
    ['--indev=tcp:h:4000', '--outdev=unix:/run/a.sock', '--tls-creds=/etc/tls'],
    { indev_tls_creds: '/etc/tls', outdev_tls_creds: undefined },
  ],
  [
    ['--indev=tcp:h:4000,tls-creds=/own', '--outdev=tcp:h:4001', '--tls-creds=/etc/tls'],
    { indev_tls_creds: '/own', outdev_tls_creds: '/etc/tls' },
  ],
  [['--indev=tcp::4000,server', OUT, '--insecure'], { indev: 'tcp::4000', indev_server: true }],
]

for (const [args, fields] of streams) {
  test(`is understood: ${args.join(' ')}`, async t => {
    t.like(await planOf(...args), fields)
  })
}

test('what only a captured interface has is not in the plan of a stream', async t => {
  const record = await planOf('--indev=fd:3', '--outdev=fd:4')
  for (const field of [
    'in_netdev',
    'out_netdev',
    'queue',
    'latency',
    'indev_vnet_hdr_len',
    'outdev_vnet_hdr_len',
  ]) {
    t.false(field in record, field)
  }
})

test('a plan with streams reads well', async t => {
  const relay = ['--indev=unix:a.sock,server', '--outdev=tcp:192.0.2.1:4000', '--vnet-hdr-support']
  const { stdout } = await tapferry('run', '--dry-run', ...relay, '--hold=100', '--drop=oldest')
  t.true(stdout.includes(`unix:${process.cwd()}/a.sock (server, vnet_hdr_support=on)`), stdout)
  t.regex(stdout, /^outdev +tcp:192\.0\.2\.1:4000 \(client, vnet_hdr_support=on\)$/m)
  t.regex(stdout, /^offloads +kept where a virtio-net header is written$/m)
  t.regex(stdout, /^hold +released every 100 ms$/m)
  t.regex(stdout, /^buffer +16,777,216 bytes, 65,536 frames; when full, the oldest is dropped$/m)
  t.notRegex(stdout, /^(queue|latency|netns) /m)
})

test('the plan says how long a virtio-net header is, and that frames leave whole', async t => {
  const given = [IN, '--outdev=fd:3', '--vnet-hdr-len=12', '--offloads=complete']
  const { stdout } = await tapferry('run', '--dry-run', ...given)
  t.regex(stdout, /^outdev +fd:3 \(a socket that is open already, headers of 12 bytes\)$/m)
  t.regex(stdout, /^offloads +completed$/m)
})
