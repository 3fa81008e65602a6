;; A program for tests that need a real job: 30 ms on a node, where a Go program takes seconds to compile.
;;
;; Its arguments are verbs with their operands, done one after another:
;;
;;   exit CODE             end with that exit code
;;   trap                  end by executing `unreachable`
;;   sleep MILLISECONDS    wait
;;   stdout TEXT           print a line
;;   stderr TEXT           print a line on standard error
;;   write PATH TEXT       write a file, which must not exist
;;   cat PATH              print a file
;;   copy FROM TO          write one file from another
;;   fill PATH KILOBYTES   write a file of that size
;;
;; It returns when no verb is left, which Bacalhau shows as exit code -1. A file that cannot be opened, read or written
;; is exit code 66, an unknown verb or a missing operand 64 (as in sysexits.h). Bacalhau mounts everything below one
;; root, descriptor 3, so a path is opened there without its leading slash. Memory from 65536 on holds the arguments:
;; first the pointers, then the text.
(module $testtool
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 4)

  ;; 0: count of arguments; 4: size of their text; 8: an iovec; 16: bytes moved; 20: the opened descriptor;
  ;; 64: a subscription of 48 bytes; 128: its event; 256: words; 4096: a buffer of 32 KiB.
  (data (i32.const 256) "exit\00trap\00sleep\00stdout\00stderr\00write\00cat\00copy\00fill\00\n\00")
  (global $exit i32 (i32.const 256))
  (global $trap i32 (i32.const 261))
  (global $sleep i32 (i32.const 266))
  (global $stdout i32 (i32.const 272))
  (global $stderr i32 (i32.const 279))
  (global $write i32 (i32.const 286))
  (global $cat i32 (i32.const 292))
  (global $copy i32 (i32.const 296))
  (global $fill i32 (i32.const 301))
  (global $newline i32 (i32.const 306))
  (global $buffer i32 (i32.const 4096))
  (global $buffer_size i32 (i32.const 32768))
  (global $arguments i32 (i32.const 65536))

  (global $next (mut i32) (i32.const 1)) ;; index of the next argument; the first is the program's name

  ;; The next argument, a pointer to text that ends in a zero.
  (func $operand (result i32)
    (if (i32.ge_u (global.get $next) (i32.load (i32.const 0)))
      (then (call $proc_exit (i32.const 64))))
    (global.set $next (i32.add (global.get $next) (i32.const 1)))
    (i32.load (i32.add (global.get $arguments) (i32.shl (i32.sub (global.get $next) (i32.const 1)) (i32.const 2)))))

  (func $equal (param $a i32) (param $b i32) (result i32)
    (loop $again
      (if (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b)))
        (then (return (i32.const 0))))
      (if (i32.eqz (i32.load8_u (local.get $a)))
        (then (return (i32.const 1))))
      (local.set $a (i32.add (local.get $a) (i32.const 1)))
      (local.set $b (i32.add (local.get $b) (i32.const 1)))
      (br $again))
    (unreachable))

  (func $length (param $text i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $text))
    (block $done
      (loop $again
        (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $again)))
    (i32.sub (local.get $end) (local.get $text)))

  ;; The number that a text of decimal digits spells.
  (func $number (param $text i32) (result i32)
    (local $value i32)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (i32.load8_u (local.get $text))))
        (local.set $value
          (i32.add
            (i32.mul (local.get $value) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $text)) (i32.const 48))))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $again)))
    (local.get $value))

  (func $require (param $errno i32)
    (if (local.get $errno) (then (call $proc_exit (i32.const 66)))))

  (func $put (param $fd i32) (param $bytes i32) (param $size i32)
    (loop $again
      (i32.store (i32.const 8) (local.get $bytes))
      (i32.store (i32.const 12) (local.get $size))
      (call $require (call $fd_write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 16)))
      (local.set $bytes (i32.add (local.get $bytes) (i32.load (i32.const 16))))
      (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 16))))
      (br_if $again (local.get $size))))

  (func $put_line (param $fd i32) (param $text i32)
    (if (i32.load8_u (local.get $text))
      (then (call $put (local.get $fd) (local.get $text) (call $length (local.get $text)))))
    (call $put (local.get $fd) (global.get $newline) (i32.const 1)))

  (func $open (param $path i32) (param $flags i32) (param $rights i64) (result i32)
    (if (i32.eq (i32.load8_u (local.get $path)) (i32.const 47)) ;; its leading slash
      (then (local.set $path (i32.add (local.get $path) (i32.const 1)))))
    (call $require
      (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (call $length (local.get $path))
        (local.get $flags) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 20)))
    (i32.load (i32.const 20)))

  (func $open_to_read (result i32)
    (call $open (call $operand) (i32.const 0) (i64.const 2)))   ;; right: fd_read

  (func $open_to_write (result i32)
    (call $open (call $operand) (i32.const 1) (i64.const 64)))  ;; flag: create; right: fd_write

  (func $close (param $fd i32)
    (call $require (call $fd_close (local.get $fd))))

  (func $transfer (param $from i32) (param $to i32)
    (block $done
      (loop $again
        (i32.store (i32.const 8) (global.get $buffer))
        (i32.store (i32.const 12) (global.get $buffer_size))
        (call $require (call $fd_read (local.get $from) (i32.const 8) (i32.const 1) (i32.const 16)))
        (br_if $done (i32.eqz (i32.load (i32.const 16))))
        (call $put (local.get $to) (global.get $buffer) (i32.load (i32.const 16)))
        (br $again)))
    (call $close (local.get $from)))

  (func $do_sleep
    (i32.store (i32.const 80) (i32.const 1)) ;; the monotonic clock
    (i64.store (i32.const 88)
      (i64.mul (i64.extend_i32_u (call $number (call $operand))) (i64.const 1000000)))
    (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 16))))

  (func $do_write
    (local $fd i32) (local $text i32)
    (local.set $fd (call $open_to_write))
    (local.set $text (call $operand))
    (if (i32.load8_u (local.get $text))
      (then (call $put (local.get $fd) (local.get $text) (call $length (local.get $text)))))
    (call $close (local.get $fd)))

  (func $do_copy
    (local $from i32) (local $to i32)
    (local.set $from (call $open_to_read))
    (local.set $to (call $open_to_write))
    (call $transfer (local.get $from) (local.get $to))
    (call $close (local.get $to)))

  (func $do_fill
    (local $fd i32) (local $kilobytes i32)
    (local.set $fd (call $open_to_write))
    (local.set $kilobytes (call $number (call $operand)))
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $kilobytes)))
        (call $put (local.get $fd) (global.get $buffer) (i32.const 1000))
        (local.set $kilobytes (i32.sub (local.get $kilobytes) (i32.const 1)))
        (br $again)))
    (call $close (local.get $fd)))

  (func $do (param $verb i32)
    (if (call $equal (local.get $verb) (global.get $exit))
      (then (call $proc_exit (call $number (call $operand)))))
    (if (call $equal (local.get $verb) (global.get $trap))
      (then (unreachable)))
    (if (call $equal (local.get $verb) (global.get $sleep))
      (then (call $do_sleep) (return)))
    (if (call $equal (local.get $verb) (global.get $stdout))
      (then (call $put_line (i32.const 1) (call $operand)) (return)))
    (if (call $equal (local.get $verb) (global.get $stderr))
      (then (call $put_line (i32.const 2) (call $operand)) (return)))
    (if (call $equal (local.get $verb) (global.get $write))
      (then (call $do_write) (return)))
    (if (call $equal (local.get $verb) (global.get $cat))
      (then (call $transfer (call $open_to_read) (i32.const 1)) (return)))
    (if (call $equal (local.get $verb) (global.get $copy))
      (then (call $do_copy) (return)))
    (if (call $equal (local.get $verb) (global.get $fill))
      (then (call $do_fill) (return)))
    (call $proc_exit (i32.const 64)))

  (func (export "_start")
    (call $require (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (call $require
      (call $args_get
        (global.get $arguments)
        (i32.add (global.get $arguments) (i32.shl (i32.load (i32.const 0)) (i32.const 2)))))
    (block $done
      (loop $again
        (br_if $done (i32.ge_u (global.get $next) (i32.load (i32.const 0))))
        (call $do (call $operand))
        (br $again))))
)
