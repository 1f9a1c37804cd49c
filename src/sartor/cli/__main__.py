from sartor.cli import main

main()
