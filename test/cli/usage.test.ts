import test from 'ava'
import { records, tapferry } from '../support/cli.ts'

const IN = '--in-netdev=tapA'
const OUT = '--out-netdev=tapB'
const ENDS = [IN, OUT]
const INDEV = '--indev=unix:/run/a.sock'
const OUTDEV = '--outdev=unix:/run/b.sock'

/** A wrong command line, the line it must print, and the next step that must follow. */
type Wrong = readonly [args: readonly string[], message: RegExp, hint?: RegExp]

const wrong: readonly Wrong[] = [
  [[], /^no command given$/, /commands: run, handover, netdevs, doctor; more: tapferry --help/],
  [['rn'], /^unknown command 'rn'$/, /did you mean 'tapferry run'\?/],
  [['frobnicate'], /^unknown command 'frobnicate'$/, /commands: run/],
  [['--bogus'], /^unknown option --bogus$/],
  [
    ['--in-netdev=tapA', 'run'],
    /^option --in-netdev comes after its command$/,
    /tapferry run --in-netdev=tapA/,
  ],
  [['--version', 'now'], /^unexpected argument 'now'$/],
  [['run'], /^--in-netdev is missing/, /tapferry run --in-netdev tapA --out-netdev tapB/],
  [
    ['run', '--in-netdev=tapA'],
    /^--out-netdev is missing/,
    /tapferry run --in-netdev tapA --out-netdev tapB/,
  ],
  [['run', ...ENDS, 'icmp'], /^unexpected argument 'icmp'$/, /tapferry run -h/],
  [['run', ...ENDS, '--', '--wait'], /^unexpected argument '--wait'$/],
  [['run', '--in-netdv=tapA'], /^unknown option --in-netdv$/, /did you mean --in-netdev\?/],
  [['run', '-x'], /^unknown option -x$/, /tapferry run -h/],
  [
    ['run', '-device', 'e1000,netdev=hn0'],
    /^unknown option -device$/,
    /of a QEMU command line take only -chardev and -object/,
  ],
  [['run', '-chardv', 'socket'], /^unknown option -chardv$/, /did you mean --chardev\?/],
  [['run', '-chardev'], /^option -chardev needs a value$/],
  [['run', '--in-netdev'], /^option --in-netdev needs a value$/],
  [['run', '--in-netdev', '--wait'], /^option --in-netdev needs a value$/],
  [['run', '--in-netdev='], /^--in-netdev: invalid value ''/],
  [['run', '--in-netdev=tap A'], /^--in-netdev: invalid value 'tap A'/],
  [['run', '--in-netdev=a', '--in-netdev=b'], /^--in-netdev is given 2 times$/, /once/],
  [['run', '--wait=1'], /^option --wait takes no value$/, /write only --wait/],
  [['run', '--no-wait'], /^unknown option --no-wait$/, /leave --wait out/],
  [
    ['run', '--status=maybe'],
    /Invalid value for netfilter status, should be 'on' or 'off', not 'maybe'/,
    /--status=on/,
  ],
  [['run', '--status'], /^option --status needs a value$/],
  [['run', '--queue=up'], /^--queue: invalid value 'up', should be 'tx', 'rx' or 'all'$/],
  [['run', '--latency=none'], /^--latency: invalid value 'none', should be 'balanced' or 'low'$/],
  [
    ['run', '--enable-when-stopped=yes'],
    /^--enable-when-stopped: invalid value 'yes', should be 'on' or 'off'$/,
  ],
  [['run', '--enable-when-stopped='], /^--enable-when-stopped: invalid value ''/],
  [['run', '--color=blue'], /^--color: invalid value 'blue', should be 'auto', 'always' or 'never'$/],
  ...['0', '-1', '4294967296', '0x100000000', 'red', '1.5', ''].map(
    value =>
      [
        ['run', `--mark=${value}`],
        /^--mark: invalid value '.*', should be a number from 1 to 0xffffffff/,
      ] satisfies Wrong,
  ),
  ...['-1', '10001', '1s', '1.5', 'x', ''].map(
    value =>
      [
        ['run', `--pre-roll=${value}`],
        /^--pre-roll: invalid value '.*', should be milliseconds from 0 to 10000/,
      ] satisfies Wrong,
  ),
  ...['0', '0s', '-1', '5d', 'soon', '0.0001', '2147484', ''].map(
    value =>
      [
        ['run', `--duration=${value}`],
        /^--duration: invalid value '.*', should be a time such as/,
      ] satisfies Wrong,
  ),
  ...['-1', '5d', '0.0001', '2147484'].map(
    value =>
      [
        ['run', `--stats-interval=${value}`],
        /^--stats-interval: invalid value '.*', should be a time/,
      ] satisfies Wrong,
  ),
  ...['0', '-5', '1.5', '1e3', '9007199254740992', 'all'].map(
    value =>
      [
        ['run', `--count=${value}`],
        /^--count: invalid value '.*', should be a whole number above 0$/,
      ] satisfies Wrong,
  ),
  ...['', 'localhost:0', 'localhost:65536', 'localhost:qmp', ':4444', 'unix:', '/run/vm.qmp,server=on'].map(
    value => [['run', ...ENDS, `--qmp=${value}`], /^invalid monitor address '.*'/, /./] satisfies Wrong,
  ),
  [['run', ...ENDS, '--only-when-stopped'], /^--only-when-stopped needs --qmp/, /--qmp/],
  [
    ['run', ...ENDS, '--qmp=vm.qmp', '--only-when-stopped', '--enable-when-stopped=off'],
    /contradict each other: the gate would never open$/,
    /leave one of them out/,
  ],
  [['run', ...ENDS, '-q', '-v'], /^--quiet and --verbose contradict each other$/, /leave one of them out/],
  ...['--config=f', '--engine=ring'].map(
    flag => [['run', ...ENDS, flag], /^unknown option --/] satisfies Wrong,
  ),
]

/** The same for streams, holds and buffers. */
const wrongStreams: readonly Wrong[] = [
  [['run', INDEV], /^--out-netdev is missing, or --outdev/],
  [['run', ...ENDS, INDEV], /^--in-netdev and --indev contradict each other/, /leave one of them out/],
  [['run', ...ENDS, OUTDEV], /^--out-netdev and --outdev contradict each other/, /leave one of them out/],
  ...['unix:/run/a.sock', 'unix:/run/../run/a.sock,server', 'unix:/run/a.sock,vnet-hdr-support'].map(
    address =>
      [
        ['run', INDEV, `--outdev=${address}`],
        /^'indev' and 'outdev' could not be same: both are unix:\/run\/a\.sock$/,
        /its own socket/,
      ] satisfies Wrong,
  ),
  [['run', '--indev=tcp:h:1', '--outdev=tcp:h:1'], /^'indev' and 'outdev' could not be same/],
  [['run', INDEV, OUT, '--queue=tx'], /^--queue is for --in-netdev/, /queue of the filter/],
  [['run', INDEV, OUT, '--latency=low'], /^--latency is for --in-netdev/, /leave it out/],
  [['run', INDEV, OUTDEV, '--netns=vm1'], /^--netns is for interfaces/, /ip netns exec/],
  [['run', IN, OUTDEV, '--out-netns=vm1'], /^--out-netns is for --out-netdev/],
  [['run', ...ENDS, '--vnet-hdr-support'], /^--vnet-hdr-support needs a stream as --indev or --outdev/],
  [['run', ...ENDS, '--tls-creds=/etc/tls'], /^--tls-creds needs a stream as --indev or --outdev/],
  [
    ['run', INDEV, OUTDEV, '--tls-creds=/etc/tls'],
    /^--tls-creds is for tcp, and neither end takes it from there$/,
  ],
  [['run', ...ENDS, '--insecure'], /^--insecure needs --indev or --outdev/],
  [
    ['run', INDEV, OUTDEV, '--insecure'],
    /^--insecure is for a TCP server or a dgram indev over UDP, and neither end is one$/,
    /leave it/,
  ],
  [['run', INDEV, OUT, '--offloads=keep'], /^--offloads needs --outdev/, /--outdev/],
  [['run', ...ENDS, '--vnet-hdr-len=12'], /^--vnet-hdr-len needs a stream as --indev or --outdev/],
  [['run', ...ENDS, '--buffer=1M'], /^--buffer needs --hold, --indev or --outdev/],
  [['run', ...ENDS, '--drop=oldest'], /^--drop needs --hold, --indev or --outdev/],
  [['run', IN, OUTDEV, '--vnet-hdr-len=11'], /invalid value '11', should be '0', '10', '12' or '20'$/],
  [['run', IN, OUTDEV, '--offloads=drop'], /invalid value 'drop', should be 'keep' or 'complete'$/],
  ...['tcp::4000', 'tcp:0.0.0.0:4000', 'tcp:192.0.2.1:4000', 'tcp:[::]:4000', 'tcp:example.org:4000'].map(
    address =>
      [
        ['run', `--indev=${address},server`, OUT],
        /^--indev: tcp:.* would let other hosts connect, without encryption or a password$/,
        /--insecure$/,
      ] satisfies Wrong,
  ),
  ...['0', '0ms', '0s', '3600001', '2h', '5d', 'running', '-1', ''].map(
    value =>
      [
        ['run', ...ENDS, `--hold=${value}`],
        /^--hold: invalid value '.*', should be 'until-running', or milliseconds from 1 to 3600000/,
      ] satisfies Wrong,
  ),
  [['run', ...ENDS, '--hold=until-running'], /^--hold=until-running needs --qmp/, /--qmp/],
  [
    ['run', ...ENDS, '--hold=until-running', '--qmp=q', '--enable-when-stopped=off'],
    /^--hold=until-running and --enable-when-stopped=off contradict each other/,
    /leave one of them out/,
  ],
  ...['0', '131071', '127k', '4G', '4294967296', '1.5M', '16MB', '-1', 'M', ''].map(
    value =>
      [
        ['run', ...ENDS, `--buffer=${value}`],
        /^--buffer: invalid value '.*', should be a size from '128k' to '4095M', such as '16M'$/,
      ] satisfies Wrong,
  ),
  ...['0', '16777217', 'many'].map(
    value =>
      [['run', ...ENDS, `--buffer-frames=${value}`], /^--buffer-frames: invalid value/] satisfies Wrong,
  ),
  [['run', ...ENDS, '--drop=random'], /invalid value 'random', should be 'newest' or 'oldest'$/],
]

for (const [args, message, hint] of [...wrong, ...wrongStreams]) {
  test(`wrong usage says so in one line and ends with 2: tapferry ${args.join(' ')}`, async t => {
    const { status, stdout, stderr } = await tapferry(...args)
    t.is(status, 2)
    t.is(stdout, '')
    const [first = '', ...rest] = stderr.trimEnd().split('\n')
    t.regex(first, /^tapferry: error: /)
    t.regex(first.slice('tapferry: error: '.length), message)
    t.true(rest.length <= 1, stderr)
    if (hint) t.regex(rest[0] ?? '', hint)
  })
}

test('with --json wrong usage is an object on stdout, too', async t => {
  const { status, stdout, stderr } = await tapferry('run', '--json', '--queue=up')
  t.is(status, 2)
  t.regex(stderr, /^tapferry: error: --queue: invalid value 'up'/)
  const [record, ...more] = records(stdout)
  t.is(more.length, 0)
  t.regex(String(record?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
  t.like(record, { type: 'error', code: 'USAGE', exit_status: 2 })
})
